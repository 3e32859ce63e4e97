// Settings that come back with a picture that was made here.

import { thereOf } from "../gallery/predictions.js";
import { ask, askJson } from "../page/api.js";
import * as form from "./form.js";
import { offerUndo } from "./reset.js";
import { reuse } from "./settings.js";

/** @typedef {import("../gallery/predictions.js").Prediction} Prediction */

/**
 * The settings that a picture carries, instead of the picture; where the prediction that has drawn
 * it is here, with the image that it was made from.
 * @param {import("../picture/picture.js").Picture} picture
 */
export async function restore({ blob, making, width, height }) {
  if (!making) return;
  const origin = await predictionOf(blob, making);
  if (origin) {
    await reuse(origin.prediction, origin.drawn);
    return;
  }
  const sides = form.all().find(({ name }) => name === "width")?.choices ?? [];
  const isOffered = [width, height].every((side) => side !== null && sides.includes(side));
  const size = isOffered ? { width, height } : {};
  const undo = form.fill({ ...size, ...making });
  form.lead();
  offerUndo("Its settings are in the form. If it was made from an image, choose that too.", undo);
}

/**
 * The prediction of one's own that has drawn a picture, which is known by its file; null where it is
 * not here, or no longer.
 * @param {Blob} blob
 * @param {import("../picture/making.js").Making} making: what the file carries.
 */
async function predictionOf(blob, { prompt, seed }) {
  const search = encodeURIComponent(String(prompt));
  const { results } = await askJson(`/form/predictions?search=${search}`);
  for (const prediction of /** @type {Prediction[]} */ (results))
    for (const drawn of thereOf(prediction).filter((one) => one.seed === seed))
      if (await isSame(blob, await (await ask(drawn.url)).blob())) return { prediction, drawn };
  return null;
}

/**
 * Whether two files have the same bytes.
 * @param {Blob} one
 * @param {Blob} other
 */
async function isSame(one, other) {
  if (one.size !== other.size) return false;
  const [first, second] = await Promise.all(
    [one, other].map(async (blob) => new Uint8Array(await blob.arrayBuffer())),
  );
  return first.every((byte, at) => byte === second[at]);
}
