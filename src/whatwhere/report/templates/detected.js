
/* What a detector finds and looks at: one picture with its boxes, and the map of each gate beside it. */
if (document.getElementById("detected")) {
  const data = JSON.parse(document.getElementById("detected").textContent);
  const sights = document.querySelector(".sights");
  const find = (selector) => sights.querySelector(selector);
  const articles = [...sights.querySelectorAll("article")];
  const thumbnails = [...document.querySelectorAll(".strip button")];
  const maps = [...sights.querySelectorAll(".maps button")];
  const [least, strength] = [find("#least"), find("#strength")];
  const lut = unpack(data.lut);
  const state = { picture: 0, site: null, scale: "site", pixels: null };
  const SMALL = 240;

  const layer = document.createElement("canvas");
  layer.setAttribute("aria-hidden", "true");
  const article = () => articles[state.picture];
  const nameOf = (one) => one.querySelector("h3").textContent;
  const mapOf = (site) => data.pictures[state.picture][site];
  const everywhere = (site) => range(data.pictures.map((found) => found[site]).filter(Boolean));
  const boundsOf = (site) => (state.scale === "site" ? everywhere(site) : mapOf(site));

  /* The picture in the canvas's size, with a map over it if there is one. */
  const paint = (canvas, width, height, site, share) => {
    Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(state.pixels, 0, 0, width, height);
    if (!mapOf(site)) return;
    const image = context.getImageData(0, 0, width, height);
    overlay(image, mapOf(site), boundsOf(site), share, lut);
    context.putImageData(image, 0, 0);
  };
  const sized = (most) => {
    const { naturalWidth: width, naturalHeight: height } = state.pixels;
    const scale = Math.min(1, most / Math.max(width, height));
    return [Math.max(1, Math.round(width * scale)), Math.max(1, Math.round(height * scale))];
  };

  const drawMaps = () => {
    maps.forEach((button, site) => {
      paint(button.firstChild, ...sized(SMALL), site, 0.55);
      const map = mapOf(site);
      button.setAttribute("aria-label", `${data.sites[site].name}: ${map ? `factor ${between(map.low, map.high)} on this picture` : "no map of this picture"}`);
    });
  };

  const gateOf = ({ name, gate, size, sd, strength: acting }, map, all) => {
    const words = [name, gate];
    if (size) words.push(`map ${size.join("×")}`);
    if (sd !== null) words.push(`spread ${write(sd, 0, sd)}`);
    if (acting !== null) words.push(`acts at strength ${write(acting)}`);
    return `${words.join(" · ")}. Factor ${between(map.low, map.high)} on this picture, ${between(all.low, all.high)} on all that are shown.`;
  };

  const drawLayer = () => {
    maps.forEach((button, site) => press(button, site === state.site));
    const map = state.site === null ? null : mapOf(state.site);
    layer.hidden = !map;
    if (!maps.length) return;
    find(".strength .share").textContent = `${strength.value} %`;
    find(".ramp").classList.toggle("off", !map);
    find(".gate").textContent = map ? gateOf(data.sites[state.site], map, everywhere(state.site)) : "Press a gate's map to lay it over the picture.";
    if (!map) return;
    const bounds = boundsOf(state.site);
    find(".low").textContent = write(bounds.low, bounds.low, bounds.high);
    find(".high").textContent = write(bounds.high, bounds.low, bounds.high);
    paint(layer, ...sized(Infinity), state.site, strength.value / 100);
  };

  const sift = () => {
    const boxes = [...article().querySelectorAll(".found li")];
    for (const box of boxes) box.hidden = Number(box.dataset.score) < Number(least.value);
    const shown = boxes.filter((box) => !box.hidden).length;
    article().querySelector(".shown").textContent = shown;
    find(".least .at").textContent = Number(least.value).toFixed(2);
    least.setAttribute("aria-valuetext", `${Number(least.value).toFixed(2)}: ${shown} of ${boxes.length} boxes`);
  };

  const tell = () => {
    const site = state.site === null ? [] : [data.sites[state.site].name];
    find("[role=status]").textContent = [nameOf(article()), article().querySelector(".tally").textContent, ...site].join("; ");
  };

  const choose = async (number) => {
    state.picture = number;
    articles.forEach((one, place) => { one.hidden = place !== number; });
    pointOut(thumbnails, number);
    find(".place").textContent = `${number + 1} of ${articles.length}`;
    sift();
    const image = article().querySelector("img");
    await image.decode();
    if (state.picture !== number) return;
    state.pixels = image;
    image.after(layer);
    drawMaps();
    drawLayer();
    tell();
  };
  const turn = (by) => choose((state.picture + by + articles.length) % articles.length);
  const lay = (site) => {
    state.site = site;
    drawLayer();
    tell();
  };
  /* Through all gates, and past the last one to none. */
  const climb = (by) => {
    const at = state.site === null ? maps.length : state.site;
    const next = (at + by + maps.length + 1) % (maps.length + 1);
    lay(next === maps.length ? null : next);
  };

  thumbnails.forEach((button, place) => button.addEventListener("click", () => choose(place)));
  maps.forEach((button, site) => button.addEventListener("click", () => lay(site === state.site ? null : site)));
  for (const button of sights.querySelectorAll("[data-turn]")) button.addEventListener("click", () => turn(Number(button.dataset.turn)));
  for (const button of sights.querySelectorAll("[data-layer]")) {
    button.addEventListener("click", () => {
      press(button, !isPressed(button));
      sights.classList.toggle(`no-${button.dataset.layer}`, !isPressed(button));
    });
  }
  for (const button of sights.querySelectorAll("[data-scale]")) {
    button.addEventListener("click", () => {
      for (const other of sights.querySelectorAll("[data-scale]")) press(other, other === button);
      state.scale = button.dataset.scale;
      drawMaps();
      drawLayer();
    });
  }
  least.addEventListener("input", () => {
    sift();
    tell();
  });
  if (maps.length) {
    strength.addEventListener("input", drawLayer);
    drawRamp(find(".lut"), lut);
  }

  /* Arrow keys turn pictures and gates while the pictures are in sight; where the focus is in something that needs them, it keeps them. */
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey || event.target.closest("input, .scroll")) return;
    const { top, bottom } = find(".beside").getBoundingClientRect();
    const moves = { ArrowLeft: () => turn(-1), ArrowRight: () => turn(1) };
    if (maps.length) Object.assign(moves, { ArrowUp: () => climb(1), ArrowDown: () => climb(-1) });
    const strip = event.target.closest(".strip");
    if (!moves[event.key] || (!strip && (bottom < 0 || top > innerHeight))) return;
    event.preventDefault();
    moves[event.key]();
    if (strip) thumbnails[state.picture].focus();
  });

  /* Only scripts can bring back what they hide: without them all scores and all pictures are there to be read. */
  for (const other of document.querySelectorAll("[data-choice]")) other.querySelector("button").click();
  choose(0);
}
