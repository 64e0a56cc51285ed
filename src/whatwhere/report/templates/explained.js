
/* What networks look at: one picture, one gate, and the map of it over the picture. */
if (document.getElementById("data")) {
  const data = JSON.parse(document.getElementById("data").textContent);
  const viewer = document.querySelector(".viewer");
  const find = (selector) => viewer.querySelector(selector);
  const thumbnails = [...document.querySelectorAll(".strip button")];
  const stop = find("#stop");
  const strength = find("#strength");
  const MANY = 12;

  const lut = unpack(data.lut);
  const stops = Math.max(...data.networks.map((network) => network.sites.length));
  const state = { picture: 0, stop: 0, scale: "site", mask: false, plain: false, pixels: null };

  const panels = [...viewer.querySelectorAll(".panel")].map((panel, place) => ({
    place,
    panel,
    network: data.networks[place],
    find: (selector) => panel.querySelector(selector),
    select: panel.querySelector("select"),
  }));
  const picture = () => data.pictures[state.picture];
  const look = ({ place }, shown = picture()) => shown.looks[place];

  /* The slider's stops are those of the network with most gates; another's are met at the same relative depth. */
  const site = ({ network }) => {
    const last = network.sites.length - 1;
    if (state.stop === stops || last < 0) return null;
    return stops < 2 ? 0 : Math.round((state.stop * last) / (stops - 1));
  };
  const mapOf = (part, shown) => {
    const at = site(part);
    return at === null ? look(part, shown).cams[part.select.selectedIndex] : look(part, shown).sites[at].positions;
  };
  const channelsOf = (part, shown) => (site(part) === null ? null : look(part, shown).sites[site(part)].channels);
  const over = (part, pick) =>
    range(data.pictures.map((shown) => pick(part, shown)).filter(Boolean));
  const everywhere = (part) => (site(part) === null ? { low: 0, high: 1 } : over(part, mapOf));

  /* White just inside the object and black just outside, so that it is seen on anything. */
  const outline = ({ data: pixels, width, height }, runs) => {
    const inside = new Uint8Array(width * height);
    runs.reduce((at, run, place) => {
      if (place % 2) inside.fill(1, at, at + run);
      return at + run;
    }, 0);
    for (let y = 0, at = 0; y < height; y++) {
      for (let x = 0; x < width; x++, at++) {
        const mine = inside[at];
        const edge = (x > 0 && inside[at - 1] !== mine) || (x < width - 1 && inside[at + 1] !== mine)
          || (y > 0 && inside[at - width] !== mine) || (y < height - 1 && inside[at + width] !== mine);
        if (edge) pixels.fill(mine ? 255 : 0, 4 * at, 4 * at + 3);
      }
    }
  };

  const drawPicture = (part) => {
    const { width, height, mask } = picture();
    const map = mapOf(part);
    const canvas = part.find(".picture > canvas");
    const image = new ImageData(new Uint8ClampedArray(state.pixels), width, height);
    const share = state.plain ? 0 : strength.value / 100;
    const bounds = map && (state.scale === "site" ? everywhere(part) : map);
    if (map && share > 0) overlay(image, map, bounds, share, lut);
    if (mask && state.mask) outline(image, mask);
    Object.assign(canvas, { width, height });
    canvas.getContext("2d").putImageData(image, 0, 0);
    part.find(".ramp").classList.toggle("off", !map);
    part.find(".low").textContent = map ? write(bounds.low, bounds.low, bounds.high) : "";
    part.find(".high").textContent = map ? write(bounds.high, bounds.low, bounds.high) : "";
    const all = map && everywhere(part);
    part.find(".numbers").textContent = map
      ? `${between(map.low, map.high)} on this picture, ${between(all.low, all.high)} on all that are shown`
      : "";
    canvas.setAttribute("aria-label", `${picture().name}: ${titleOf(part)}, ${part.network.name}. ${part.find(".numbers").textContent}`);
  };

  const titleOf = (part) => {
    const at = site(part);
    return at === null ? `CAM of ${look(part).classes[part.select.selectedIndex]}` : part.network.sites[at].name;
  };
  const gateOf = (part) => {
    const at = site(part);
    if (at === null) return `at ${part.network.layer}, as a share of its highest value`;
    const { gate, size, low, high, sd, strength: acting } = part.network.sites[at];
    const words = [gate];
    if (size) words.push(`map ${size.join("×")}`);
    if (low !== null && high !== null) words.push(`factor ${between(low, high)}`);
    if (sd !== null) words.push(`spread ${write(sd, 0, sd)}`);
    if (acting !== null) words.push(`acts at strength ${write(acting)}`);
    return words.join(" · ");
  };
  const noteOf = (part) => {
    if (state.stop < stops && site(part) === null) return "This network has no gates: its CAM is shown at every stop.";
    if (site(part) !== null && !mapOf(part)) return "This gate weighs channels only, all positions alike: the picture is shown plain.";
    if (site(part) !== null && !channelsOf(part)) return "This gate weighs positions only, all channels alike.";
    return "";
  };
  const readPanel = (part) => {
    part.find(".site").textContent = titleOf(part);
    part.find(".gate").textContent = gateOf(part);
    part.find(".note").textContent = noteOf(part);
  };

  /* Channels: the most raised and the most lowered as bars about the mean, and all of them in order. */
  const drawChannels = (part) => {
    const found = channelsOf(part);
    part.find(".channels").hidden = !found;
    if (!found) return;
    const steps = unpack(found.data);
    const values = Float64Array.from(steps, (step) => found.low + (step * (found.high - found.low)) / 255);
    const order = [...values.keys()].sort((one, other) => values[other] - values[one]);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const bounds = state.scale === "site" ? over(part, channelsOf) : found;
    drawBars(part, values, order, mean, bounds);
    drawProfile(part, order.map((channel) => values[channel]), mean, bounds);
  };

  const drawBars = (part, values, order, mean, bounds) => {
    const many = Math.min(MANY, Math.floor(order.length / 2));
    const reach = Math.max(bounds.high - mean, mean - bounds.low) || 1;
    const bars = [...order.slice(0, many), ...order.slice(order.length - many)].map((channel, place) => {
      const away = values[channel] - mean;
      const value = write(values[channel], bounds.low, bounds.high);
      const words = `channel ${channel}: factor ${value}, ${write(Math.abs(away), bounds.low, bounds.high)} ${away < 0 ? "below" : "above"} the mean`;
      const bar = element("button", "", away < 0 ? "down" : "up");
      bar.type = "button";
      bar.title = words;
      bar.setAttribute("aria-label", words);
      bar.tabIndex = place ? -1 : 0;
      const fill = element("i", "");
      fill.style.height = `${Math.min((50 * Math.abs(away)) / reach, 50)}%`;
      bar.append(fill);
      return bar;
    });
    part.find(".bars").replaceChildren(...bars.slice(0, many), element("span", ""), ...bars.slice(many));
    part.find(".channel").textContent = `The ${many} most raised and the ${many} most lowered of ${values.length}, about their mean of ${write(mean, bounds.low, bounds.high)}.`;
    part.rest = part.find(".channel").textContent;
  };

  const drawProfile = (part, sorted, mean, bounds) => {
    const span = bounds.high - bounds.low || 1;
    const height = (value) => (97 - (94 * (value - bounds.low)) / span).toFixed(2);
    const last = sorted.length - 1 || 1;
    const line = sorted.map((value, place) => `${((100 * place) / last).toFixed(2)} ${height(value)}`).join("L");
    part.find("path.line").setAttribute("d", `M${line}`);
    part.find("path.even").setAttribute("d", `M0 ${height(mean)}H100`);
    const words = `All ${sorted.length} channels in order, ${between(sorted[sorted.length - 1], sorted[0])}; dashed: their mean. The axis goes from ${between(bounds.low, bounds.high)}.`;
    part.find(".profile").textContent = words;
    part.find(".channels svg").setAttribute("aria-label", words);
  };

  const fillPanel = (part) => {
    const { classes, probabilities, predicted, right } = look(part);
    const { label } = picture();
    part.select.replaceChildren(...classes.map((name, place) => element("option", `${name}, ${percent(probabilities[place])}`)));
    const said = part.find(".said");
    said.replaceChildren("says ", element("b", classes[predicted]), `, ${percent(probabilities[predicted])}`);
    if (right !== null) said.append(" ", element("span", right ? "right" : `wrong, it is ${label}`, right ? "verdict" : "verdict wrong"));
  };

  const render = () => {
    if (!state.pixels) return;
    for (const part of panels) {
      drawPicture(part);
      readPanel(part);
      drawChannels(part);
    }
    const names = [...new Set(panels.filter((part) => state.stop === stops || site(part) !== null).map((part) => (state.stop === stops ? "CAM" : titleOf(part))))];
    const words = names.join(" | ");
    find(".sites .at").replaceChildren(words, element("small", state.stop === stops ? "after the last gate" : `stop ${state.stop + 1} of ${stops}`));
    stop.value = state.stop;
    stop.setAttribute("aria-valuetext", words);
    find(".strength .share").textContent = `${strength.value} %`;
    find(".mask").hidden = !picture().mask;
    const answers = panels.map((part) => `${part.network.name} ${part.find(".said").textContent}`);
    find("[role=status]").textContent = [picture().name, words, ...answers].join("; ");
  };

  /* Only the picture that is chosen is decoded. */
  const choose = async (number) => {
    state.picture = number;
    state.pixels = null;
    const { name, label, jpeg, width, height } = picture();
    pointOut(thumbnails, number);
    const image = new Image();
    image.src = `data:image/jpeg;base64,${jpeg}`;
    await image.decode();
    if (state.picture !== number) return;
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    state.pixels = context.getImageData(0, 0, width, height).data;
    find(".name").textContent = name;
    find(".label").textContent = label && `truly ${label}`;
    find(".place").textContent = `${number + 1} of ${data.pictures.length}`;
    panels.forEach(fillPanel);
    render();
  };
  const turn = (by) => choose((state.picture + by + data.pictures.length) % data.pictures.length);
  const go = (to) => {
    state.stop = Math.min(Math.max(to, 0), stops);
    render();
  };

  thumbnails.forEach((button, place) => button.addEventListener("click", () => choose(place)));
  for (const button of viewer.querySelectorAll("[data-turn]")) button.addEventListener("click", () => turn(Number(button.dataset.turn)));
  stop.max = stops;
  stop.addEventListener("input", () => go(Number(stop.value)));
  strength.addEventListener("input", render);
  for (const button of viewer.querySelectorAll("[data-scale]")) {
    button.addEventListener("click", () => {
      for (const other of viewer.querySelectorAll("[data-scale]")) press(other, other === button);
      state.scale = button.dataset.scale;
      render();
    });
  }
  for (const name of ["mask", "plain"]) {
    find(`.${name}`).addEventListener("click", () => {
      state[name] = !state[name];
      press(find(`.${name}`), state[name]);
      render();
    });
  }

  for (const part of panels) {
    drawRamp(part.find(".lut"), lut);
    part.select.addEventListener("change", render);
    const bars = part.find(".bars");
    const read = (event) => {
      const bar = event.target.closest("button");
      part.find(".channel").textContent = bar ? bar.title : part.rest;
    };
    for (const kind of ["pointerover", "focusin", "click"]) bars.addEventListener(kind, read);
    for (const kind of ["pointerleave", "focusout"]) bars.addEventListener(kind, () => { part.find(".channel").textContent = part.rest; });
    bars.addEventListener("keydown", (event) => {
      const all = [...bars.querySelectorAll("button")];
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      const next = all[all.indexOf(event.target) + by];
      if (!next) return;
      event.preventDefault();
      for (const bar of all) bar.tabIndex = bar === next ? 0 : -1;
      next.focus();
    });
  }

  /* Arrow keys turn pictures and gates while the picture is in sight; where the focus is in something that needs them, it keeps them. */
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.shiftKey || event.target.closest("input, select, .bars, .scroll")) return;
    const { top, bottom } = find(".panels").getBoundingClientRect();
    const moves = {
      ArrowLeft: () => turn(-1), ArrowRight: () => turn(1), ArrowUp: () => go(state.stop + 1), ArrowDown: () => go(state.stop - 1),
    };
    if (!moves[event.key] || bottom < 0 || top > innerHeight) return;
    event.preventDefault();
    moves[event.key]();
    if (event.target.closest(".strip")) thumbnails[state.picture].focus();
  });

  choose(0);
}
