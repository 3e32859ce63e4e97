// A model's OpenAPI document, as the inputs that the form has.

import { wordingOf } from "./wording.js";

/** The widths and heights in px that the model chooses from where one is left empty. */
const AUTOMATIC_SIDES = [128, 256, 384, 448, 512, 576, 640, 704, 768, 832, 896, 960, 1024];

/** Shown above "Advanced", in this order, where the model has them; so is what it requires. */
const FIRST = ["prompt", "loras", "image", "mask", "strength", "num_images"];

/** What stands below "Advanced" under a heading of its own, in this order; the rest is before it. */
const GROUPS = {
  Mask: [
    ...["mask_source", "invert_mask", "mask_grow", "mask_blur"],
    ...["only_masked", "only_masked_padding"],
  ],
  "Fit of the image": ["crop", "resize_mode", "keep_size"],
  "Beyond the image": ["extend_left", "extend_top", "extend_right", "extend_bottom"],
  "Second pass": ["refine_scale", "refine_strength", "refine_steps", "upscaler"],
  Sampling: ["scheduler", "spacing", "eta", "clip_skip"],
  Result: ["result_size", "resample", "tiling", "output_format", "output_quality"],
};

/**
 * What an input holds that is no file; null is the model's own choice.
 * @typedef {string | number | boolean | string[] | null} Value
 */

/**
 * An input of a model, with what the form says of it.
 * @typedef {import("./wording.js").Wording & InputOfSchema} Input
 */
/**
 * @typedef {object} InputOfSchema
 * @property {string} name
 * @property {string} label
 * @property {string} hint
 * @property {string} type
 * @property {boolean} isFile
 * @property {boolean} isRequired
 * @property {boolean} isFirst
 * @property {Value} fallback  what the model takes where nothing is given.
 * @property {number} [minimum]
 * @property {number} [maximum]
 * @property {(string | number)[]} [choices]
 * @property {string} unchosen  the choice of none of them.
 * @property {number} order
 */

/**
 * Inputs under their headings; those without one first, under none.
 * @param {Input[]} inputs
 * @returns {[string, Input[]][]}
 */
export function grouped(inputs) {
  const names = Object.values(GROUPS).flat();
  /** @type {[string, Input[]][]} */
  const groups = [["", inputs.filter(({ name }) => !names.includes(name))]];
  for (const [title, members] of Object.entries(GROUPS))
    groups.push([title, members.flatMap((member) => inputs.filter(({ name }) => name === member))]);
  return groups.filter(([, members]) => members.length);
}

/**
 * The inputs of a model: those that matter first, then the others in the model's order.
 * @param {any} openapi
 * @param {string[]} upscalers: names that its input `upscaler` takes; where there are none, it is
 *   left out.
 * @returns {Input[]}
 */
export function inputsOf(openapi, upscalers) {
  const { schemas } = openapi.components;
  const { properties, required = [] } = schemas.Input;
  return Object.entries(/** @type {Record<string, any>} */ (properties))
    .filter(([name]) => name !== "upscaler" || upscalers.length)
    .map(([name, entry]) => {
      // Cog keeps the choices of an input beside it, and refers to them.
      /** @type {{$ref: string}[]} */
      const references = entry.allOf ?? [];
      const parts = references.map(({ $ref }) => schemas[$ref.slice($ref.lastIndexOf("/") + 1)]);
      const whole = Object.assign({}, ...parts, entry);
      return {
        name,
        ...wordingOf(name, entry.description ?? ""),
        type: whole.type,
        isFile: whole.format === "uri",
        isRequired: required.includes(name),
        isFirst: required.includes(name) || FIRST.includes(name),
        fallback: whole.default ?? null,
        minimum: whole.minimum,
        maximum: whole.maximum,
        choices: name === "upscaler" ? upscalers : whole.enum,
        unchosen: name === "upscaler" ? "Lanczos" : "automatic",
        order: entry["x-order"] ?? 0,
      };
    })
    .sort((one, other) => placeOf(one) - placeOf(other) || one.order - other.order);
}

/** @param {Input} input */
const placeOf = ({ name, isFirst }) =>
  FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length + (isFirst ? 0 : 1);

/**
 * The size of the result where width or height is left empty.
 *
 * Among the pairs of sides with half to twice the model's native area, the closest in shape, then
 * in area, then the wider.
 * @param {number?} width: what was chosen; null where nothing was.
 * @param {number?} height: likewise.
 * @param {{width: number, height: number}?} picture: the input; null without one.
 * @param {number?} native: the side of the square that it was trained on; null if nobody knows.
 * @returns {[number, number]?} null where it can't be told.
 */
export function sizeOf(width, height, picture, native) {
  if (width && height) return [width, height];
  if (!native) return null;
  if (!picture) return [width ?? native, height ?? native];
  const shape = picture.width / picture.height;
  const pairs = (width ? [width] : AUTOMATIC_SIDES)
    .flatMap((w) =>
      (height ? [height] : AUTOMATIC_SIDES).map((h) => /** @type {[number, number]} */ ([w, h])),
    )
    .filter(([w, h]) => width || height || (2 * w * h >= native ** 2 && w * h <= 2 * native ** 2));
  /** @param {[number, number]} pair */
  const rank = ([w, h]) => [Math.abs(Math.log(w / h / shape)), Math.abs(w * h - native ** 2), -w];
  return pairs.reduce((best, pair) => (isLess(rank(pair), rank(best)) ? pair : best));
}

/**
 * Whether one list of numbers is before another.
 * @param {number[]} one
 * @param {number[]} other
 */
function isLess(one, other) {
  const index = one.findIndex((value, place) => Math.abs(value - other[place]) > 1e-9);
  return index >= 0 && one[index] < other[index];
}
