// What of a picture a result shows, and the result's size, by what else is in the form.

import { sizeOf } from "./schema.js";

/** The longest side in px of a result that keeps a picture's size. */
const LONGEST_SIDE = 1536;
/** The same at strength 0, where nothing is drawn. */
const LONGEST_FITTED_SIDE = 4096;

/**
 * @typedef {object} Frame
 * @property {[number, number]?} size  width and height in px of the result; null if nobody knows.
 * @property {[number, number, number, number]} box  left, top, width and height of what is shown of
 *   the picture, as shares of its own.
 */

/**
 * The frame of a picture.
 * @param {{width: number, height: number}} picture
 * @param {(name: string) => import("./schema.js").Value} get: what an input holds.
 * @param {boolean} isMasked: whether there is a mask.
 * @param {number?} native: the side of the square that the model was trained on; null if nobody
 *   knows.
 * @returns {Frame}
 */
export function frameOf(picture, get, isMasked, native) {
  /** @param {string} name: of a number, or of nothing. */
  const number = (name) => Number(get(name)) || null;
  const [left, top, width, height] = partOf(picture, String(get("crop") ?? ""));
  const part = { width, height };
  const isPart = Boolean(get("only_masked")) && isMasked;
  const result = /^\s*([1-9]\d*)\s*[x×]\s*([1-9]\d*)\s*$/i.exec(String(get("result_size") ?? ""));
  const added = [
    (number("extend_left") ?? 0) + (number("extend_right") ?? 0),
    (number("extend_top") ?? 0) + (number("extend_bottom") ?? 0),
  ];
  /** @type {[number, number]?} */
  let size = sizeOf(number("width"), number("height"), part, native);
  const isRefined = !isPart && !result && !get("keep_size");
  const refineScale = isRefined ? Math.max(1, number("refine_scale") ?? 1) : 1;
  if (isPart) size = [width, height];
  else if (result) size = [Number(result[1]), Number(result[2])];
  else if (get("keep_size")) {
    const longest = get("strength") === 0 ? LONGEST_FITTED_SIDE : LONGEST_SIDE;
    const scale = Math.min(1, (longest - added[0]) / width, (longest - added[1]) / height);
    size = [Math.round(width * scale) || 1, Math.round(height * scale) || 1];
  } else if (refineScale > 1 && isEnlargedAlone(get)) size = [width, height];
  const isWhole = !size || isPart || ["pad", "stretch"].includes(String(get("resize_mode")));
  const [wide, high] = isWhole || !size ? [width, height] : size;
  const scale = Math.max(wide / width, high / height);
  const [shownWidth, shownHeight] = [wide / scale, high / scale];
  return {
    size: size && [
      toWhole(size[0] * refineScale) + added[0],
      toWhole(size[1] * refineScale) + added[1],
    ],
    box: [
      (left + (width - shownWidth) / 2) / picture.width,
      (top + (height - shownHeight) / 2) / picture.height,
      shownWidth / picture.width,
      shownHeight / picture.height,
    ],
  };
}

/**
 * Whether a second pass makes a picture larger in its own size, and nothing is drawn.
 * @param {(name: string) => import("./schema.js").Value} get: what an input holds.
 */
function isEnlargedAlone(get) {
  return get("strength") === 0 && get("refine_strength") === 0 && !get("width") && !get("height");
}

/**
 * The nearest whole number, and of two the even one, as the model rounds.
 * @param {number} value
 */
function toWhole(value) {
  const above = Math.round(value);
  return above - value === 0.5 && above % 2 ? above - 1 : above;
}

/**
 * The part of a picture that a text such as `0,40,512,512` names; all of it where it names none.
 * @param {{width: number, height: number}} picture
 * @param {string} text
 */
function partOf({ width, height }, text) {
  const numbers = text.split(",").map((part) => (/^\s*\d+\s*$/.test(part) ? Number(part) : NaN));
  const [x, y, w, h] = numbers;
  const isPart = numbers.length === 4 && w > 0 && h > 0 && x + w <= width && y + h <= height;
  return isPart ? numbers : [0, 0, width, height];
}
