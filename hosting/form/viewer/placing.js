// Where an input lies over the picture that was made of it.

/** @typedef {{width: number, height: number}} Size  in pixels. */
/**
 * A place over a picture, in parts of its width and height.
 * @typedef {object} Place
 * @property {number} left
 * @property {number} top
 * @property {number} width
 * @property {number} height
 * @property {number[]} inset  what of the input was cut away: at the top, the right, the bottom and
 *   the left, in parts of its own height and width.
 */

/**
 * Where an input lies over the picture that was made of it.
 * @param {Record<string, any>} settings: by the names of the model's inputs.
 * @param {Size} input
 * @param {Size} result
 * @returns {Place}
 */
export function placeOf(settings, input, result) {
  const [x, y, width, height] = cropOf(settings.crop) ?? [0, 0, input.width, input.height];
  const frame = frameOf(settings, { width, height }, result);
  const across = frame.width / width;
  const down = frame.height / height;
  const both = settings.resize_mode === "pad" ? Math.min(across, down) : Math.max(across, down);
  const [scaleX, scaleY] = settings.resize_mode === "stretch" ? [across, down] : [both, both];
  return {
    left: (frame.left + (frame.width - width * scaleX) / 2 - x * scaleX) / result.width,
    top: (frame.top + (frame.height - height * scaleY) / 2 - y * scaleY) / result.height,
    width: (input.width * scaleX) / result.width,
    height: (input.height * scaleY) / result.height,
    inset: [
      y / input.height,
      1 - (x + width) / input.width,
      1 - (y + height) / input.height,
      x / input.width,
    ],
  };
}

/**
 * @param {unknown} crop: such as "0,40,512,512".
 * @returns {number[]?} x, y, width and height; null where all of it was used.
 */
function cropOf(crop) {
  const numbers = typeof crop === "string" ? crop.split(",").map(Number) : [];
  return numbers.length === 4 && numbers.every(Number.isFinite) ? numbers : null;
}

/**
 * The part of a result that is not beyond the input's edges, in the result's pixels.
 * @param {Record<string, any>} settings
 * @param {Size} used: what of the input was used.
 * @param {Size} result
 */
function frameOf(settings, used, result) {
  const [left, top, right, bottom] = ["left", "top", "right", "bottom"].map(
    (side) => settings[`extend_${side}`] ?? 0,
  );
  // With the input's own size kept, the whole may have been made smaller afterwards.
  const scale = settings.keep_size ? result.width / (used.width + left + right) : 1;
  return {
    left: left * scale,
    top: top * scale,
    width: result.width - (left + right) * scale,
    height: result.height - (top + bottom) * scale,
  };
}
