// The part of a picture that is used: where it is, and the input `crop` that has it there.

import { framed, largest } from "./frame.js";

/** How much closer than all of it a part can be. */
const CLOSEST = 8;
/** Px of a picture that a part's shorter side has at least. */
const SMALLEST = 16;

/** @typedef {import("./frame.js").Frame} Frame */
/** @typedef {import("./frame.js").Size} Size */
/** @typedef {import("./picture.js").SizedPicture} SizedPicture */

/**
 * What part is wanted: its middle in px of the picture, and how often the largest is as wide.
 * @typedef {{x: number, y: number, zoom: number}} Place
 */

/**
 * The shape of the part, wherever it is.
 * @param {SizedPicture} picture
 * @param {Frame?} frame
 * @returns {Size}
 */
export const shapeOf = (picture, frame) => frame?.shape ?? [picture.width, picture.height];

/**
 * Where the part is.
 * @param {SizedPicture} picture
 * @param {Frame?} frame
 * @returns {Place}
 */
export function placeOf(picture, frame) {
  const [left, top, width, height] = frame?.box ?? [0, 0, 1, 1];
  const [wide, high] = largest(picture, shapeOf(picture, frame));
  const zoom = Math.min(wide / (width * picture.width), high / (height * picture.height));
  return {
    x: (left + width / 2) * picture.width,
    y: (top + height / 2) * picture.height,
    zoom: Math.max(1, zoom),
  };
}

/**
 * The input `crop` that has the part at a place, and how close that is, as far as it can be.
 * @param {SizedPicture} picture
 * @param {Frame?} frame
 * @param {Place} wanted
 */
export function cropAt(picture, frame, { x, y, zoom: wanted }) {
  const shape = shapeOf(picture, frame);
  const closest = Math.min(CLOSEST, Math.min(...largest(picture, shape)) / SMALLEST);
  const zoom = Math.min(Math.max(1, wanted), Math.max(1, closest));
  return { zoom, text: textOf(picture, shape, zoom, [x, y]) };
}

/**
 * What is used of a picture, in whole px.
 * @param {SizedPicture} picture
 * @param {Frame?} frame
 */
export function pixelsOf({ width, height }, frame) {
  const [left, top, wide, high] = frame?.box ?? [0, 0, 1, 1];
  return [left * width, top * height, wide * width, high * height].map(Math.round);
}

/**
 * The input `crop` for a part; nothing for what is used anyway.
 * @param {SizedPicture} picture
 * @param {Size} shape
 * @param {number} zoom
 * @param {[number, number]} middle
 */
function textOf(picture, shape, zoom, middle) {
  const part = framed(picture, shape, zoom, middle);
  const usual = framed(picture, shape, 1, [picture.width / 2, picture.height / 2]);
  return String(part) === String(usual) ? "" : String(part);
}
