// A mask as a file: white where a picture is to be repainted.

import { contextOf } from "../page/dom.js";
import { greyPng } from "./grey-png.js";

/** @typedef {import("../picture/picture.js").Picture} Picture */

/** @typedef {import("../picture/frame.js").Get} Get */

/**
 * What a mask has repainted, as opaque in the colour that is painted with; fitted like the server
 * does.
 * @param {Picture} mask
 * @param {number} width
 * @param {number} height
 * @param {Get} get
 */
export async function layerOf(mask, width, height, get) {
  const { canvas, context, pixels } = await fitted(mask, width, height);
  const greyAt = reading(pixels.data, get);
  for (let at = 0; at < pixels.data.length; at += 4) pixels.data.set([229, 72, 77, greyAt(at)], at);
  context.putImageData(pixels, 0, 0);
  return canvas;
}

/**
 * A mask's pixels in a size; what does not fit is cut off, as the server does.
 * @param {Picture} mask
 * @param {number} width
 * @param {number} height
 */
export async function fitted(mask, width, height) {
  const bitmap = await createImageBitmap(mask.blob);
  const canvas = new OffscreenCanvas(width, height);
  const context = contextOf(canvas, { willReadFrequently: true });
  const scale = Math.max(width / bitmap.width, height / bitmap.height);
  const [w, h] = [bitmap.width * scale, bitmap.height * scale];
  context.drawImage(bitmap, (width - w) / 2, (height - h) / 2, w, h);
  bitmap.close();
  return { canvas, context, pixels: context.getImageData(0, 0, width, height) };
}

/**
 * How much of a pixel of a mask is repainted, from 0 to 255, by what the form says of masks.
 * @param {Uint8ClampedArray} data
 * @param {Get} get
 * @returns {(at: number) => number}
 */
export function reading(data, get) {
  const source = get("mask_source");
  const hasHoles = data.some((value, at) => at % 4 === 3 && value < 255);
  if (source === "alpha" && hasHoles) return (at) => 255 - data[at + 3];
  const isInverted = source !== "alpha" && Boolean(get("invert_mask"));
  /** @param {number} at */
  const grey = (at) => (source === "opacity" && hasHoles ? data[at + 3] : greyAt(data, at));
  return isInverted ? (at) => 255 - grey(at) : grey;
}

/**
 * How white a pixel is; what is transparent counts as black.
 * @param {Uint8ClampedArray} data
 * @param {number} at
 */
function greyAt(data, at) {
  const [red, green, blue, alpha] = data.subarray(at, at + 4);
  return Math.round(((0.299 * red + 0.587 * green + 0.114 * blue) * alpha) / 255);
}

/**
 * The mask that was painted.
 * @param {Uint8Array} greys: of its pixels, row by row.
 * @param {number} width
 * @param {number} height
 * @returns {Promise<Picture>}
 */
export async function maskOf(greys, width, height) {
  const blob = await greyPng(greys, width, height);
  return { blob, name: "mask.png", width, height, url: URL.createObjectURL(blob) };
}
