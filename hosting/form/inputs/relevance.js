// Which inputs are of no use with what else the form holds.

/** Of no use without an image. */
const ON_IMAGES = [
  "mask",
  "strength",
  "extend_left",
  "extend_top",
  "extend_right",
  "extend_bottom",
  "keep_size",
  "resize_mode",
  "crop",
];
/** Of no use without a mask. */
const ON_MASKS = [
  "mask_source",
  "invert_mask",
  "mask_blur",
  "mask_grow",
  "only_masked",
  "only_masked_padding",
];
/**
 * Of no use while another input, whose name it has here, holds the model's own choice.
 * @type {Record<string, string[]>}
 */
const ON_OTHERS = {
  only_masked: ["only_masked_padding"],
  refine_scale: ["refine_strength", "refine_steps", "upscaler"],
  output_format: ["output_quality"],
};

/** The names of all inputs that may be of no use. */
export const CONDITIONAL = [...ON_IMAGES, ...ON_MASKS, ...Object.values(ON_OTHERS).flat()];

/**
 * The names of the inputs that are of no use.
 * @param {import("./schema.js").Input[]} inputs
 * @param {(name: string) => unknown} inputValue: what an input holds; null for nothing.
 * @returns {Set<string>}
 */
export function uselessOf(inputs, inputValue) {
  const useless = /** @type {Set<string>} */ (new Set());
  const isOptional = inputs.some(({ name, isRequired }) => name === "image" && !isRequired);
  /** @param {string[]} names */
  const leaveOut = (names) => {
    for (const name of names) useless.add(name);
  };
  if (isOptional && !inputValue("image") && !inputValue("mask")) leaveOut(ON_IMAGES);
  if (!inputValue("mask")) leaveOut(ON_MASKS);
  for (const { name, fallback } of inputs) {
    const isOwn = (inputValue(name) ?? fallback) === fallback;
    if (isOwn || useless.has(name)) leaveOut(ON_OTHERS[name] ?? []);
  }
  return useless;
}
