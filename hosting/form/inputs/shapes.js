// The shape of the result as buttons: each is a width and a height that the model draws well.

import { button, h } from "../page/dom.js";
import { icon } from "../page/icons.js";

/** Sides of the shapes, the longer first. */
const RATIOS = [
  [1, 1],
  [4, 3],
  [3, 2],
  [16, 9],
  [2, 1],
];
/** The area of a result, as shares of the square that the model was trained on. */
const [SMALLEST, LARGEST] = [0.6, 2];
/** How far the logarithm of a shape may be from that of its name. */
const NEAR = 0.08;

/** @typedef {[number, number]} Size  width and height in px. */

/**
 * The sizes of the shapes that a model has, the wider ones, by their names.
 * @param {number[]} sides: in px, that a result may have.
 * @param {number} native: the side in px of the square that it was trained on.
 * @returns {Map<string, Size>}
 */
function sizesOf(sides, native) {
  const sizes = sides
    .flatMap((width) => sides.map((height) => /** @type {Size} */ ([width, height])))
    .filter(([w, h]) => w * h >= SMALLEST * native ** 2 && w * h <= LARGEST * native ** 2);
  /** @type {Map<string, Size>} */
  const found = new Map();
  for (const [wide, high] of RATIOS) {
    /** @param {Size} size */
    const far = ([w, h]) => Math.abs(Math.log((w / h) * (high / wide)));
    /** @param {Size} size */
    const rank = (size) => far(size) * 100 + Math.abs(Math.log((size[0] * size[1]) / native ** 2));
    const [best] = sizes.filter((size) => far(size) < NEAR).sort((a, b) => rank(a) - rank(b));
    if (best) found.set(`${wide}:${high}`, best);
  }
  return found;
}

/**
 * The buttons.
 * @param {object} form
 * @param {number[]} form.sides: that both width and height may be.
 * @param {() => {width: number?, height: number?}} form.chosen: null where nothing is.
 * @param {(size: {width: number?, height: number?}) => void} form.choose
 */
export function makeShapes({ sides, chosen, choose }) {
  const said = h("span", { class: "hint" });
  const chips = h("div", { class: "chips" });
  const element = h(
    "div",
    { class: "field shapes", role: "group", "aria-labelledby": "shape-label" },
    h("span", { class: "label", id: "shape-label" }, "Shape"),
    said,
    chips,
  );
  const automatic = button("Auto", () => choose({ width: null, height: null }));
  const swap = button("", swapped, { "aria-label": "Swap width and height", title: "Swap" });
  swap.append(icon("swap"));
  let isTall = false;
  /** @type {Map<HTMLButtonElement, {name: string, size: Size}>} */
  let shapes = new Map();

  function swapped() {
    const { width, height } = chosen();
    isTall = !isTall;
    choose({ width: height, height: width });
  }

  /** @param {number} native */
  function offer(native) {
    shapes = new Map(
      [...sizesOf(sides, native)].map(([name, size]) => [
        button(name, () => {
          const [width, height] = isTall ? size.toReversed() : size;
          choose({ width, height });
        }),
        { name, size },
      ]),
    );
    chips.replaceChildren(automatic, ...shapes.keys(), swap);
  }

  let offered = 0;
  return {
    element,
    /**
     * Shows what is chosen.
     * @param {number?} native: as of `sizesOf`; null where nobody knows.
     * @param {boolean} hasImage: whose shape is taken where none is chosen.
     * @param {Size?} result: that the drawing is scaled and cut to.
     */
    show(native, hasImage, result) {
      element.hidden = native === null;
      if (native === null) return;
      if (native !== offered) offer(native);
      offered = native;
      const { width, height } = chosen();
      if (width && height && width !== height) isTall = width < height;
      const isAutomatic = !width && !height;
      automatic.setAttribute("aria-pressed", String(isAutomatic));
      press(shapes, { width, height }, isTall);
      const side = Math.min(native, Math.max(...sides)); // a token may have less than the model
      const own = hasImage ? "as the image" : `${side} × ${side} px`;
      if (result) said.textContent = `${result[0]} × ${result[1]} px, the result size`;
      else said.textContent = isAutomatic ? own : `${width ?? "auto"} × ${height ?? "auto"} px`;
    },
  };
}

/**
 * Shows which of the shapes is chosen, and how they lie.
 * @param {Map<HTMLButtonElement, {name: string, size: Size}>} shapes
 * @param {{width: number?, height: number?}} chosen
 * @param {boolean} isTall
 */
function press(shapes, { width, height }, isTall) {
  for (const [chip, { name, size }] of shapes) {
    const sides = isTall ? size.toReversed() : size;
    const isChosen = sides[0] === width && sides[1] === height;
    chip.setAttribute("aria-pressed", String(isChosen));
    chip.textContent = isTall ? name.split(":").reverse().join(":") : name;
  }
}
