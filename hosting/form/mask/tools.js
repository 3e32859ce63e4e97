// The tools of the mask editor.

import { button, h } from "../page/dom.js";

/** Diameter of the brush at its largest, as a share of the picture's shorter side. */
const LARGEST_BRUSH = 0.5;
const KINDS = /** @type {const} */ (["brush", "lasso", "rectangle"]);
const RESIZE_STEP = 4;

/** @typedef {ReturnType<typeof makeTools>} Tools */
/** @typedef {typeof KINDS[number]} Kind */

/**
 * The tools, and which of them is in use.
 * @param {{width: number, height: number}} picture
 * @param {import("./layer.js").Layer} layer
 * @param {number?} blur: the mask's at first; null where the model has none.
 * @param {(factor: number) => void} zoomBy
 * @param {(blur: number) => void} blurred
 */
export function makeTools({ width, height }, layer, blur, zoomBy, blurred) {
  /** @type {Kind} */
  let kind = "brush";
  let isErasing = false;
  const size = sliderOf("Size", "Size of the brush", 1, 100, 25, () => `${Math.round(brush())} px`);
  const feather = sliderOf("Feather", "Feather of the mask's edge", 0, 64, blur ?? 0, (px) => {
    blurred(px);
    return `${px} px`;
  });
  const brush = () =>
    Math.max(2, (Number(size.range.value) / 100) * LARGEST_BRUSH * Math.min(width, height));
  const kinds = KINDS.map((one) =>
    named(one, () => {
      kind = one;
      show();
    }),
  );
  const eraser = named("eraser", () => {
    isErasing = !isErasing;
    show();
  });
  const undo = button("Undo", layer.undo, { title: "Ctrl+Z" });
  const redo = button("Redo", layer.redo, { title: "Ctrl+Y" });
  const farther = button("−", () => zoomBy(1 / 1.5), { "aria-label": "Zoom out", title: "−" });
  const closer = button("+", () => zoomBy(1.5), { "aria-label": "Zoom in", title: "+" });
  const invert = button("Invert", () => layer.act("invert"));
  const clear = button("Clear", () => layer.act("clear"));
  const element = h(
    "div",
    { class: "tools", role: "toolbar", "aria-label": "Tools" },
    group("Paint by", kinds),
    eraser,
    size.element,
    ...(blur === null ? [] : [feather.element]),
    h("div", { class: "ways" }, undo, redo),
    h("div", { class: "ways" }, invert, clear),
    group("Zoom", [farther, closer]),
  );

  function show() {
    for (const [place, one] of KINDS.entries())
      kinds[place].setAttribute("aria-pressed", String(one === kind));
    eraser.setAttribute("aria-pressed", String(isErasing));
    size.element.classList.toggle("unused", kind !== "brush");
  }
  /** @param {number} by */
  const resize = (by) => size.set(Number(size.range.value) + by * RESIZE_STEP);

  size.set(25);
  feather.set(blur ?? 0);
  show();
  return {
    element,
    kind: () => kind,
    isErasing: () => isErasing,
    /** The diameter of the brush in px of the picture; 0 where another tool is used. */
    brush: () => (kind === "brush" ? brush() : 0),
    blur: () => (blur === null ? null : Number(feather.range.value)),
    resize,
    press: presser(layer, { resize, closer, farther, named: [...kinds, eraser] }),
    /**
     * Shows what can be done now.
     * @param {{zoom: number, isClosest: boolean}} stage
     */
    update({ zoom, isClosest }) {
      // Not disabled: that would take the focus from whoever presses it.
      undo.setAttribute("aria-disabled", String(!layer.canUndo()));
      redo.setAttribute("aria-disabled", String(!layer.canRedo()));
      farther.setAttribute("aria-disabled", String(zoom <= 1));
      closer.setAttribute("aria-disabled", String(isClosest));
    },
  };
}

/**
 * @param {string} label
 * @param {HTMLElement[]} buttons
 */
const group = (label, buttons) =>
  h("div", { class: "segments", role: "group", "aria-label": label }, ...buttons);

/**
 * What keys do with the tools.
 * @param {import("./layer.js").Layer} layer
 * @param {object} tools
 * @param {(by: number) => void} tools.resize
 * @param {HTMLButtonElement} tools.closer
 * @param {HTMLButtonElement} tools.farther
 * @param {HTMLButtonElement[]} tools.named
 * @returns {(event: KeyboardEvent) => boolean} does what a key is for: whether it is for anything.
 */
function presser(layer, { resize, closer, farther, named }) {
  /** @type {Record<string, () => void>} */
  const keys = {
    "[": () => resize(-1),
    "]": () => resize(1),
    "+": () => closer.click(),
    "=": () => closer.click(),
    "-": () => farther.click(),
    ...Object.fromEntries(named.map((one) => [one.dataset.key, () => one.click()])),
  };
  /** @type {Record<string, () => void>} */
  const keysWithControl = { z: layer.undo, Z: layer.redo, y: layer.redo };
  return ({ key, ctrlKey, metaKey, altKey, shiftKey }) => {
    if (altKey) return false;
    const held = shiftKey ? key.toUpperCase() : key.toLowerCase();
    const act = ctrlKey || metaKey ? keysWithControl[held] : keys[held];
    act?.();
    return Boolean(act);
  };
}

/**
 * A tool that its first letter chooses.
 * @param {string} name
 * @param {() => void} choose
 */
function named(name, choose) {
  const [first, ...rest] = name;
  const upper = first.toUpperCase();
  return button(upper + rest.join(""), choose, { title: upper, "data-key": first });
}

/**
 * A slider with its name and its value.
 * @param {string} text
 * @param {string} label
 * @param {number} min
 * @param {number} max
 * @param {number} value
 * @param {(value: number) => string} told: called with each value; what stands beside it.
 */
function sliderOf(text, label, min, max, value, told) {
  const range = h("input", { type: "range", min, max, value, "aria-label": label });
  const output = h("span", { class: "hint", "aria-hidden": "true" });
  const tell = () => {
    output.textContent = told(Number(range.value));
    range.setAttribute("aria-valuetext", output.textContent);
  };
  range.addEventListener("input", tell);
  return {
    element: h("label", { class: "slide-by" }, text, range, output),
    range,
    /** @param {number} wanted */
    set(wanted) {
      range.value = String(wanted);
      tell();
    },
  };
}
