// What is painted on a picture: every deed, drawn again to undo one.

import { contextOf, h } from "../page/dom.js";

const COLOUR = "#e5484d";

/** @typedef {[number, number]} Point  of the picture, in its pixels. */
/** @typedef {{points: Point[], size: number, isErasing: boolean}} Stroke  of the brush. */
/** @typedef {{corners: Point[], isErasing: boolean}} Area  a lasso's, or a rectangle. */
/** @typedef {Stroke | Area | "clear" | "invert"} Deed */
/** @typedef {ReturnType<typeof makeLayer>} Layer */

/**
 * A layer over a picture: opaque where it is painted.
 * @param {number} width: of the picture, in its pixels.
 * @param {number} height
 * @param {CanvasImageSource?} base: what was painted before.
 * @param {() => void} changed
 */
export function makeLayer(width, height, base, changed) {
  const canvas = h("canvas", { width, height });
  const context = contextOf(canvas, { willReadFrequently: true });
  /** @type {Deed[]} */
  const done = [];
  /** @type {Deed[]} */
  let undone = [];

  // A deed takes less room than a copy of the layer.
  const redraw = () => {
    context.globalCompositeOperation = "source-over";
    context.clearRect(0, 0, width, height);
    if (base) context.drawImage(base, 0, 0);
    for (const deed of done) draw(context, deed);
    changed();
  };
  /**
   * @param {Deed[]} from
   * @param {Deed[]} to
   */
  const move = (from, to) => {
    const last = from.pop();
    if (last) to.push(last);
    redraw();
  };
  if (base) context.drawImage(base, 0, 0);

  return {
    canvas,
    redraw,
    /** Draws what is not done yet. @param {Deed} deed */
    sketch: (deed) => draw(context, deed),
    /** @param {Deed} deed */
    act(deed) {
      done.push(deed);
      undone = [];
      redraw();
    },
    undo: () => move(done, undone),
    redo: () => move(undone, done),
    canUndo: () => done.length > 0,
    canRedo: () => undone.length > 0,
    /** How much of each pixel is painted, from 0 to 255. */
    greys() {
      const { data } = context.getImageData(0, 0, width, height);
      const greys = new Uint8Array(width * height);
      for (let place = 0; place < greys.length; place++) greys[place] = data[4 * place + 3];
      return greys;
    },
  };
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Deed} deed
 */
function draw(context, deed) {
  const { width, height } = context.canvas;
  context.globalCompositeOperation = "source-over";
  context.fillStyle = context.strokeStyle = COLOUR;
  if (deed === "clear") context.clearRect(0, 0, width, height);
  else if (deed === "invert") {
    context.globalCompositeOperation = "xor";
    context.fillRect(0, 0, width, height);
  } else {
    if (deed.isErasing) context.globalCompositeOperation = "destination-out";
    if ("corners" in deed) fillArea(context, deed);
    else drawStroke(context, deed);
  }
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Area} area
 */
function fillArea(context, { corners }) {
  context.beginPath();
  for (const corner of corners) context.lineTo(...corner);
  context.fill();
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Stroke} stroke
 */
function drawStroke(context, { points, size }) {
  context.lineWidth = size;
  context.lineCap = context.lineJoin = "round";
  context.beginPath();
  // A line without a length would not be drawn.
  context.arc(...points[0], size / 2, 0, 2 * Math.PI);
  context.fill();
  context.beginPath();
  context.moveTo(...points[0]);
  for (const point of points) context.lineTo(...point);
  context.stroke();
}
