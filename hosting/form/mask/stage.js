// The stage of the mask editor: the picture, what is painted on it, and how close they are.

import { h } from "../page/dom.js";

const CLOSEST = 8;
const SVG = "http://www.w3.org/2000/svg";

/** @typedef {import("./layer.js").Point} Point */
/** @typedef {ReturnType<typeof makeStage>} Stage */

/**
 * A stage.
 * @param {import("../picture/picture.js").SizedPicture} picture
 * @param {HTMLCanvasElement} canvas: lies on the picture.
 * @param {[number, number, number, number]} box: what a result shows of the picture, in shares.
 * @param {() => void} changed: called when it is closer or farther.
 */
export function makeStage({ url, width, height }, canvas, box, changed) {
  const cursor = makeCursor(width, height);
  const [outline, area] = ["svg", "polygon"].map((tag) => document.createElementNS(SVG, tag));
  outline.setAttribute("viewBox", `0 0 ${width} ${height}`);
  outline.append(area);
  const image = h("img", { src: url, alt: "", draggable: "false" });
  const paper = h("div", { class: "paper" }, image, canvas, cutAt(box), outline, cursor.element);
  const element = h("div", { class: "stage" }, paper);
  let zoom = 1;

  /** Pixels of the window for one of the picture. */
  const scale = () => paper.getBoundingClientRect().width / width;

  /**
   * Zooms; what is shown at a point of the window stays there.
   * @param {number} wanted
   */
  function zoomTo(
    wanted,
    x = middle(element, "left", "width"),
    y = middle(element, "top", "height"),
  ) {
    const before = paper.getBoundingClientRect();
    zoom = Math.min(CLOSEST, Math.max(1, wanted));
    const fitting = Math.min(element.clientWidth / width, element.clientHeight / height);
    paper.style.width = `${width * fitting * zoom}px`;
    paper.style.height = `${height * fitting * zoom}px`;
    const now = paper.getBoundingClientRect();
    element.scrollBy(
      now.left + ((x - before.left) / before.width) * now.width - x,
      now.top + ((y - before.top) / before.height) * now.height - y,
    );
    changed();
  }

  return {
    element,
    scale,
    zoomTo,
    zoom: () => zoom,
    isClosest: () => zoom >= CLOSEST,
    /** Fits what is shown to the window once more. */
    fit: () => zoomTo(zoom),
    /**
     * Where on the picture a pointer is.
     * @param {{clientX: number, clientY: number}} event
     * @returns {Point}
     */
    pointAt({ clientX, clientY }) {
      const shown = paper.getBoundingClientRect();
      return [
        ((clientX - shown.left) * width) / shown.width,
        ((clientY - shown.top) * height) / shown.height,
      ];
    },
    point: cursor.point,
    /** Shows the outline of what is being marked. @param {Point[]} corners */
    mark: (corners) => area.setAttribute("points", corners.join(" ")),
    showCursor: cursor.show,
  };
}

/**
 * What shows where the brush is.
 * @param {number} width: of the picture, in its pixels.
 * @param {number} height
 */
function makeCursor(width, height) {
  const element = h("div", { class: "brush" });
  return {
    element,
    /**
     * @param {Point} point
     * @param {number} size: its diameter in px of the picture; 0 for what is no brush.
     */
    point([x, y], size) {
      element.style.left = `${(100 * x) / width}%`;
      element.style.top = `${(100 * y) / height}%`;
      element.style.width = `${(100 * size) / width}%`;
      element.classList.toggle("cross", !size);
    },
    /** Shows it where only the keyboard moves it. @param {boolean} isByKeys */
    show(isByKeys) {
      element.classList.toggle("by-keys", isByKeys);
      if (isByKeys) element.scrollIntoView({ block: "nearest", inline: "nearest" });
    },
  };
}

/**
 * What darkens all that is cut off.
 * @param {[number, number, number, number]} box: as of `makeStage`.
 */
function cutAt(box) {
  const cut = h("div", { class: "cut" });
  const [left, top, width, height] = box.map((share) => `${100 * share}%`);
  Object.assign(cut.style, { left, top, width, height });
  return cut;
}

/**
 * @param {Element} element
 * @param {"left" | "top"} side
 * @param {"width" | "height"} length
 */
function middle(element, side, length) {
  const box = element.getBoundingClientRect();
  return box[side] + box[length] / 2;
}
