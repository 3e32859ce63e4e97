// What is to be said of a mask: whose it is, how strongly it is drawn, whether it is seen at all.

import { fitted, reading } from "./file.js";

/** The longer side, in px, at which it is looked where a mask is white. */
const LOOKED_AT = 256;
const WHITE = 128;
/** The share of a mask that may be cut off without a word. */
const LITTLE = 0.02;

/** @typedef {import("../picture/picture.js").Picture} Picture */
/** @typedef {import("../picture/frame.js").Frame} Frame */

/**
 * A mask, and what is around it.
 * @typedef {object} Around
 * @property {import("../picture/field.js").PictureField} field  of the mask.
 * @property {Picture} mask
 * @property {Picture} image  that it lies on.
 * @property {Frame?} frame  what a result shows of the image.
 * @property {boolean} isForeign  whether it was made for another image.
 * @property {import("../picture/frame.js").Get} get
 * @property {import("../inputs/schema.js").Value} strength  the model's own.
 * @property {() => void} keep  takes it for one that was made for the image.
 * @property {(values: Record<string, import("../inputs/schema.js").Value>) => void} add  into the form.
 * @property {(x: number, y: number) => void} moveTo  has a result show a place of the image.
 * @property {() => void} toPrompt  goes to the prompt, to write another.
 */
/** @typedef {{share: number, x: number, y: number}} Reach  how much of a mask is used, and where its middle is. */

let newest = 0;
/** What was looked at last: a frame that is dragged asks for it again and again. */
let looked = { key: "", pixels: new Uint8ClampedArray() };

/**
 * Shows what is to be said, and takes away what no longer is.
 * @param {Around} around
 */
export async function showNotes(around) {
  const { field, add, isForeign, keep } = around;
  const mine = ++newest;
  field.note("foreign", isForeign ? "This mask was made for another picture." : "", {
    "Keep it": keep,
    "Remove it": () => field.set(null),
  });
  const isWeak = around.get("strength") === around.strength && Number(around.strength) < 1;
  const proposal =
    around.strength !== null && isWeak && !isForeign
      ? "Below strength 1 what was there shows through in what is repainted."
      : "";
  const aboutPrompt = isForeign ? "" : "Say in the prompt what is to be drawn there.";
  field.note("prompt", aboutPrompt, { "Write it": around.toPrompt });
  field.note("strength", proposal, { "Set strength to 1": () => add({ strength: 1 }) });
  const reach = await reachOf(around);
  if (mine !== newest) return;
  field.note("cut", cutNote(reach), {
    "Move the frame": () => reach && around.moveTo(reach.x, reach.y),
    "Use all of it": () => add({ crop: "", resize_mode: "pad" }),
  });
}

/**
 * Takes away what was said of a mask.
 * @param {import("../picture/field.js").PictureField} field: of the mask.
 */
export function clearNotes(field) {
  newest++;
  for (const name of ["foreign", "prompt", "strength", "cut"]) field.note(name, "");
}

/** @param {Reach?} reach */
function cutNote(reach) {
  if (!reach || reach.share > 1 - LITTLE) return "";
  if (reach.share === 0) return "The mask lies outside what is used of the picture.";
  return "Some of the mask lies outside what is used of the picture.";
}

/**
 * How much of a mask's white is used; null where that does not matter.
 * @param {Around} around
 * @returns {Promise<Reach?>}
 */
async function reachOf({ mask, image, frame, get }) {
  if (!frame || !mask.width || !image.width || !image.height) return null;
  if (frame.margins.some(Boolean)) return null; // what is added is repainted anyway
  const scale = Math.min(1, LOOKED_AT / Math.max(image.width, image.height));
  const [width, height] = [image.width, image.height].map((side) => Math.ceil(side * scale));
  const greyAt = reading(await pixelsOf(mask, width, height), get);
  const grown = Math.max(0, Number(get("mask_grow") ?? 0));
  const [across, down] = [grown / image.width, grown / image.height];
  const [left, top, wide, high] = frame.box;
  let [all, used, sumX, sumY] = [0, 0, 0, 0];
  for (let place = 0; place < width * height; place++) {
    if (greyAt(4 * place) < WHITE) continue;
    const x = ((place % width) + 0.5) / width;
    const y = (Math.floor(place / width) + 0.5) / height;
    all++;
    sumX += x;
    sumY += y;
    if (Math.abs(x - left - wide / 2) < wide / 2 + across)
      if (Math.abs(y - top - high / 2) < high / 2 + down) used++;
  }
  return all ? { share: used / all, x: sumX / all, y: sumY / all } : null;
}

/**
 * @param {Picture} mask
 * @param {number} width
 * @param {number} height
 */
async function pixelsOf(mask, width, height) {
  const key = `${mask.url} ${width} ${height}`;
  if (looked.key !== key) looked = { key, pixels: (await fitted(mask, width, height)).pixels.data };
  return looked.pixels;
}
