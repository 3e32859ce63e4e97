// The mask of the form: which image it was made for.

/** @typedef {import("../picture/picture.js").Picture} Picture */

/** @typedef {{name: string, size: number}} Ground  an image, as far as it is told from others. */

/** The image that the mask was made for; null if nobody knows. */
let ground = /** @type {Ground?} */ (null);

/** The image that the mask was made for. */
export const madeFor = () => ground;

/**
 * @param {Picture?} image
 * @returns {Ground?}
 */
export const groundOf = (image) => image && { name: image.name, size: image.blob.size };

/**
 * The mask is one for an image from now on.
 * @param {Ground?} image
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
  (ground.name !== image.name || ground.size !== image.blob.size);
