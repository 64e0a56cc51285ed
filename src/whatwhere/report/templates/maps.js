
/* Maps over pictures: numbers and arrays as the page carries them, and colours for them. */
const unpack = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

/* Numbers, with as many digits as it takes to tell the ends of their range apart. */
const write = (value, low = value, high = value) => {
  if (value === null) return "–";
  const digits = high > low ? Math.min(Math.max(Math.round(2.5 - Math.log10(high - low)), 2), 6) : 3;
  return value.toFixed(digits).replace("-", "−");
};
const between = (low, high) => `${write(low, low, high)} to ${write(high, low, high)}`;
const percent = (share) => (share === null ? "–" : `${(100 * share).toFixed(1)} %`);
const range = (parts) => ({
  low: Math.min(...parts.map((part) => part.low)),
  high: Math.max(...parts.map((part) => part.high)),
});
const element = (name, text, classes = "") => {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = classes;
  return made;
};

/* Bilinear between the centres of the map's cells, in the map's own values; then its colour. */
const colourAt = (map, bounds, { width, height }) => {
  const steps = unpack(map.data);
  const unit = (map.high - map.low) / 255;
  const span = bounds.high - bounds.low || 1;
  const axis = (count, length) => Array.from({ length }, (_, pixel) => {
    const at = Math.min(Math.max(((pixel + 0.5) * count) / length - 0.5, 0), count - 1);
    const before = Math.floor(at);
    return [before, Math.min(before + 1, count - 1), at - before];
  });
  const [rows, columns] = [axis(map.h, height), axis(map.w, width)];
  return (x, y) => {
    const [top, bottom, v] = rows[y];
    const [left, right, u] = columns[x];
    const upper = steps[top * map.w + left] * (1 - u) + steps[top * map.w + right] * u;
    const lower = steps[bottom * map.w + left] * (1 - u) + steps[bottom * map.w + right] * u;
    const value = map.low + unit * (upper * (1 - v) + lower * v);
    return 3 * Math.round(255 * Math.min(Math.max((value - bounds.low) / span, 0), 1));
  };
};

const overlay = (image, map, bounds, share, lut) => {
  const { data: pixels, width, height } = image;
  const colour = colourAt(map, bounds, image);
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++, at += 4) {
      const entry = colour(x, y);
      for (let part = 0; part < 3; part++) {
        pixels[at + part] = Math.round(pixels[at + part] * (1 - share) + lut[entry + part] * share);
      }
    }
  }
};

/* The scale of colours, from low to high. */
const drawRamp = (canvas, lut) => {
  const colours = new ImageData(256, 1);
  for (let at = 0; at < 256; at++) colours.data.set([...lut.subarray(3 * at, 3 * at + 3), 255], 4 * at);
  canvas.getContext("2d").putImageData(colours, 0, 0);
};

/* One of a strip of thumbnails is the current one, in sight and the only stop of the tab key. */
const pointOut = (thumbnails, number) => {
  thumbnails.forEach((button, place) => {
    button.tabIndex = place === number ? 0 : -1;
    if (place === number) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  });
  const [strip, box] = [thumbnails[number].parentElement, thumbnails[number]];
  strip.scrollTo({ left: box.offsetLeft - strip.offsetLeft - strip.clientWidth / 2 + 32, top: box.offsetTop - strip.offsetTop - strip.clientHeight / 2 + 32 });
};
