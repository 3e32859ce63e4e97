// The mask of the form: which image it was made for.

/** @typedef {import("../picture/picture.js").Picture} Picture */

/** The image that the mask was made for; null if nobody knows. */
let ground = /** @type {Picture?} */ (null);

/**
 * The mask is one for an image from now on.
 * @param {Picture?} image
 */
export function layOn(image) {
  ground = image;
}

/**
 * Whether the mask was made for another image.
 * @param {Picture?} image: that it lies on now.
 */
export const isForeign = (image) =>
  image !== null &&
  ground !== null &&
  (ground.name !== image.name || ground.blob.size !== image.blob.size);
