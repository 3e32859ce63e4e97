// A mask as a file: white where a picture is to be repainted.

import { contextOf } from "../page/dom.js";
import { greyPng } from "./grey-png.js";

/** @typedef {import("../picture/picture.js").Picture} Picture */

/**
 * What is white in a mask, as opaque in the colour that is painted with; fitted like the server does.
 * @param {Picture} mask
 * @param {number} width
 * @param {number} height
 */
export async function layerOf(mask, width, height) {
  const { canvas, context, pixels } = await fitted(mask, width, height);
  for (let at = 0; at < pixels.data.length; at += 4)
    pixels.data.set([229, 72, 77, greyAt(pixels.data, at)], at);
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
 * How white a pixel is; what is transparent counts as black.
 * @param {Uint8ClampedArray} data
 * @param {number} at
 */
export function greyAt(data, at) {
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
