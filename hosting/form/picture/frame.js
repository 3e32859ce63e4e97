// What of a picture a result shows, and the result's size, by what else is in the form.

import { sizeOf } from "../inputs/schema.js";

/** The longest side in px of a result that keeps a picture's size. */
export const LONGEST_SIDE = 1536;
/** The same at strength 0, where nothing is drawn. */
const LONGEST_FITTED_SIDE = 4096;
/** The sides in px of a texture's second pass are multiples of it. */
const TEXTURE_STEP = 64;

/** How a picture of another shape is fitted. */
export const MODES = /** @type {const} */ (["crop", "pad", "stretch"]);
/** What is drawn beyond the edges, in the order of the margins. */
export const EXTENSIONS = ["extend_left", "extend_top", "extend_right", "extend_bottom"];

/** @typedef {[number, number]} Size  width and height. */
/** @typedef {(name: string) => import("../inputs/schema.js").Value} Get  what an input holds. */

/**
 * @typedef {object} Frame
 * @property {Size?} size  of the result in px; null if nobody knows.
 * @property {Size?} inner  of it, what is no extension.
 * @property {[number, number, number, number]} box  left, top, width and height of what is shown of
 *   the picture, as shares of its own.
 * @property {Size?} shape  the shape that the box has wherever it is; null where any does.
 * @property {string} crop  the input of that name.
 * @property {string} mode  of `MODES`.
 * @property {number[]} margins  px that are drawn beyond the edges, in the order of `EXTENSIONS`.
 */

/**
 * The frame of a picture.
 * @param {{width: number, height: number}} picture
 * @param {Get} get
 * @param {boolean} isMasked: whether there is a mask.
 * @param {number?} native: the side of the square that the model was trained on; null if nobody
 *   knows.
 * @returns {Frame}
 */
export function frameOf(picture, get, isMasked, native) {
  const crop = String(get("crop") ?? "");
  const [left, top, width, height] = partOf(picture, crop);
  const margins = EXTENSIONS.map((name) => numberIn(get, name) ?? 0);
  const isPart = Boolean(get("only_masked")) && isMasked;
  const inner = innerOf([width, height], get, margins, isPart, native);
  const mode = MODES.find((one) => one === get("resize_mode")) ?? "crop";
  const shape = !isPart && mode === "crop" && !get("keep_size") ? inner : null;
  const [wide, high] = shape ?? [width, height];
  const scale = Math.max(wide / width, high / height);
  const [shownWidth, shownHeight] = [wide / scale, high / scale];
  return {
    size: inner && enlarged(inner, get, margins, isPart),
    inner,
    box: [
      (left + (width - shownWidth) / 2) / picture.width,
      (top + (height - shownHeight) / 2) / picture.height,
      shownWidth / picture.width,
      shownHeight / picture.height,
    ],
    shape,
    crop,
    mode,
    margins,
  };
}

/**
 * The size that what is used of a picture is fitted to.
 * @param {Size} part: width and height of it.
 * @param {Get} get
 * @param {number[]} margins
 * @param {boolean} isPart: whether the mask's surroundings alone are drawn.
 * @param {number?} native
 * @returns {Size?}
 */
function innerOf([width, height], get, [left, top, right, bottom], isPart, native) {
  if (isPart) return [width, height];
  const asked = resultSize(get);
  if (asked) return asked;
  if (get("keep_size")) {
    const longest = get("strength") === 0 ? LONGEST_FITTED_SIDE : LONGEST_SIDE;
    const scale = Math.min(1, (longest - left - right) / width, (longest - top - bottom) / height);
    return [Math.round(width * scale) || 1, Math.round(height * scale) || 1];
  }
  if (refineScale(get) > 1 && isEnlargedAlone(get)) return [width, height];
  return sizeOf(numberIn(get, "width"), numberIn(get, "height"), { width, height }, native);
}

/**
 * The result's size: after a second pass, and with what is drawn beyond the edges.
 * @param {Size} inner
 * @param {Get} get
 * @param {number[]} margins
 * @param {boolean} isPart: as of `innerOf`.
 * @returns {Size}
 */
function enlarged([width, height], get, [left, top, right, bottom], isPart) {
  const isRefined = !isPart && !resultSize(get) && !get("keep_size") && refineScale(get) > 1;
  const scale = isRefined ? refineScale(get) : 1;
  const step = isRefined && get("tiling") ? TEXTURE_STEP : 1;
  /** @param {number} side */
  const refined = (side) => step * toWhole((side * scale) / step);
  return [refined(width) + left + right, refined(height) + top + bottom];
}

/**
 * @param {Get} get
 * @param {string} name: of a number, or of nothing.
 */
const numberIn = (get, name) => Number(get(name)) || null;

/** @param {Get} get */
const refineScale = (get) => numberIn(get, "refine_scale") ?? 1;

/**
 * The input of that name.
 * @param {Get} get
 * @returns {Size?} null where it names none.
 */
export function resultSize(get) {
  const found = /^\s*([1-9]\d*)\s*[x×]\s*([1-9]\d*)\s*$/i.exec(String(get("result_size") ?? ""));
  return found && [Number(found[1]), Number(found[2])];
}

/**
 * Whether a second pass makes a picture larger in its own size, and nothing is drawn.
 * @param {Get} get
 */
const isEnlargedAlone = (get) =>
  get("strength") === 0 && get("refine_strength") === 0 && !get("width") && !get("height");

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

/**
 * The largest part of a picture that has a shape; a number of times smaller, and where it is to be,
 * as far as the picture goes.
 * @param {{width: number, height: number}} picture
 * @param {Size} shape
 * @param {number} zoom: 1 or more.
 * @param {[number, number]} middle: of the part, in px of the picture.
 * @returns {[number, number, number, number]} left, top, width and height, in whole px.
 */
export function framed({ width, height }, shape, zoom, middle) {
  const [wide, high] = largest({ width, height }, shape).map((side) => side / zoom);
  const left = Math.min(Math.max(middle[0] - wide / 2, 0), width - wide);
  const top = Math.min(Math.max(middle[1] - high / 2, 0), height - high);
  const [x, y] = [Math.round(left), Math.round(top)];
  return [x, y, Math.max(1, Math.round(left + wide) - x), Math.max(1, Math.round(top + high) - y)];
}

/**
 * Width and height of the largest part of a picture that has a shape.
 * @param {{width: number, height: number}} picture
 * @param {Size} shape
 * @returns {Size}
 */
export function largest({ width, height }, [wide, high]) {
  const scale = Math.min(width / wide, height / high);
  return [wide * scale, high * scale];
}
