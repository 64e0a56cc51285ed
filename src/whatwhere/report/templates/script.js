"use strict";
document.documentElement.classList.add("js");

/* Tables: a head's button sorts by its column; what is not known stays last. */
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      const numeric = head.classList.contains("num");
      const key = (row) => row.cells[column].dataset.v ?? "";
      const compare = (one, other) => {
        const [a, b] = [key(one), key(other)];
        if (a === "" || b === "") return (a === "") - (b === "");
        return sign * (numeric ? a - b : a.localeCompare(b, undefined, { numeric: true }));
      };
      body.append(...[...body.rows].sort(compare));
      for (const other of heads) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
    });
  });
}

const isPressed = (button) => button.getAttribute("aria-pressed") === "true";
const press = (button, on) => button.setAttribute("aria-pressed", String(on));

/* Buttons of which one is pressed: each shows its own drawing. */
for (const group of document.querySelectorAll("[data-choice]")) {
  const figure = group.closest("figure");
  const buttons = [...group.querySelectorAll("[data-show]")];
  for (const button of buttons) {
    button.addEventListener("click", () => {
      for (const other of buttons) press(other, other === button);
      for (const part of figure.querySelectorAll("[data-part]")) part.hidden = part.dataset.part !== button.dataset.show;
      figure.dispatchEvent(new Event("choice"));
    });
  }
}

/* Learning curves: arms, seeds and bands on and off, and the values at one epoch. */
for (const figure of document.querySelectorAll("figure.curves")) {
  const data = JSON.parse(figure.querySelector("script").textContent);
  const arms = [...figure.querySelectorAll("[data-toggle]")];
  let epoch = null;

  const read = () => {
    const part = figure.querySelector("[data-part]:not([hidden])");
    const plot = part.querySelector(".plot");
    const { first, low, high, values } = data[part.dataset.part];
    const last = first + Math.max(...Object.values(values).map((line) => line.length)) - 1;
    const cursor = part.querySelector(".cursor");
    cursor.hidden = epoch === null;
    epoch = epoch === null ? null : Math.min(Math.max(epoch, first), last);
    const shown = epoch ?? last;
    const words = [];
    for (const button of arms) {
      const value = values[button.dataset.toggle]?.[shown - first] ?? null;
      button.querySelector(".now").textContent = value ?? "–";
      if (value !== null && isPressed(button)) words.push(`${button.querySelector(".name").textContent} ${value}`);
    }
    cursor.style.left = `${(100 * (shown - low)) / (high - low)}%`;
    part.querySelector(".at").textContent = epoch === null ? "epoch" : `epoch ${epoch}`;
    plot.setAttribute("aria-valuemin", first);
    plot.setAttribute("aria-valuemax", last);
    plot.setAttribute("aria-valuenow", shown);
    plot.setAttribute("aria-valuetext", `epoch ${shown}: ${words.join(", ")}`);
    return { plot, first, last, low, high };
  };

  for (const button of arms) {
    button.addEventListener("click", () => {
      press(button, !isPressed(button));
      for (const line of figure.querySelectorAll(`g[data-arm="${button.dataset.toggle}"]`)) line.toggleAttribute("hidden");
      read();
    });
  }
  for (const button of figure.querySelectorAll("[data-hide]")) {
    button.addEventListener("click", () => {
      press(button, !isPressed(button));
      figure.classList.toggle(button.dataset.hide, !isPressed(button));
    });
  }
  for (const plot of figure.querySelectorAll(".plot")) {
    plot.addEventListener("pointermove", (event) => {
      const box = plot.getBoundingClientRect();
      const { low, high } = read();
      epoch = Math.round(low + ((event.clientX - box.left) / box.width) * (high - low));
      read();
    });
    plot.addEventListener("pointerleave", () => {
      epoch = document.activeElement === plot ? epoch : null;
      read();
    });
    plot.addEventListener("keydown", (event) => {
      const { first, last } = read();
      const far = Math.max(1, Math.round((last - first) / 10));
      const now = epoch ?? last;
      const to = {
        ArrowRight: now + 1, ArrowUp: now + 1, ArrowLeft: now - 1, ArrowDown: now - 1,
        PageUp: now + far, PageDown: now - far, Home: first, End: last,
      }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      epoch = to;
      read();
    });
    plot.addEventListener("blur", () => {
      epoch = null;
      read();
    });
  }
  figure.addEventListener("choice", read);
  read();
}

/* Paper shows everything. */
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const part of opened) part.open = true;
});
addEventListener("afterprint", () => {
  for (const part of opened) part.open = false;
});
