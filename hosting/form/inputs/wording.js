// What the form calls the inputs, and says of them: short, and for people. Programs read the API's own
// texts, which an input has here too as long as nothing is written for it below.

/**
 * What the form says of an input; what is left out is as the API has it.
 * @typedef {object} Wording
 * @property {string} [label]
 * @property {string} [hint]
 * @property {string} [placeholder]
 * @property {[string, string]} [ends]  what the ends of its slider mean.
 * @property {number[]} [presets]  numbers as buttons, instead of a slider.
 * @property {number} [longest]  where the slider ends, if more is rarely of use.
 */

/** @type {Record<string, Wording>} */
const WORDINGS = {
  prompt: { hint: "", placeholder: "Describe the picture" },
  negative_prompt: { hint: "", placeholder: "What should not be in it" },
  image: { hint: "" },
  mask: { hint: "White is drawn anew, black stays." },
  num_images: { hint: "", presets: [1, 2, 3, 4] },
  num_inference_steps: { label: "Steps", ends: ["faster", "finer"], longest: 60 },
  guidance_scale: { ends: ["freer", "closer to the prompt"] },
  strength: { ends: ["keep the image", "follow the prompt"] },
  width: { hint: "" },
  height: { hint: "" },
  seed: { hint: "", placeholder: "random" },
  use_compel: { label: "Weighted words", hint: "red++, (red ball)1.3" },
  scheduler: { label: "Sampler", hint: "" },
  output_format: { hint: "" },
  output_quality: { ends: ["smaller file", "finer"] },
  mask_source: { hint: "what of the mask is drawn anew: the bright, see-through or solid part" },
  invert_mask: { hint: "draw anew what the mask would keep" },
  mask_blur: { ends: ["sharp edge", "soft edge"] },
  mask_grow: { ends: ["smaller", "larger"] },
  only_masked: { hint: "draw just the part around the mask, as large as the model can" },
  only_masked_padding: { hint: "px around the mask that are drawn too" },
  extend_left: { hint: "px, a multiple of 8" },
  extend_top: { hint: "px, a multiple of 8" },
  extend_right: { hint: "px, a multiple of 8" },
  extend_bottom: { hint: "px, a multiple of 8" },
  keep_size: { hint: "the result is as large as the image" },
  resize_mode: { hint: "where the image has another shape" },
  crop: { hint: "x,y,width,height in px of the image" },
  tiling: { hint: "a texture: its opposite edges meet" },
  result_size: { hint: "such as 520x776: the drawing is scaled and cut to it" },
  resample: { hint: "how it is scaled to that size" },
  refine_scale: { hint: "how many times larger it is drawn; 1 is off" },
  refine_strength: { ends: ["only enlarge", "draw anew"] },
  refine_steps: { hint: "empty: as many as the first pass", longest: 60 },
  upscaler: { hint: "what enlarges it before the second pass" },
  spacing: { hint: "where the steps are dense; not with every sampler" },
  eta: { hint: "new noise in each step, of the sampler DDIM" },
  clip_skip: { hint: "last layers of the text encoder that are left out" },
  noise_level: { ends: ["keep the image", "follow the prompt"] },
};

/**
 * What the form says of an input.
 * @param {string} name
 * @param {string} description: the API's.
 * @returns {Wording & {label: string, hint: string}}
 */
export function wordingOf(name, description) {
  const wording = WORDINGS[name] ?? {};
  return { ...wording, label: wording.label ?? labelOf(name), hint: hintOf(wording, description) };
}

/**
 * @param {Wording} wording
 * @param {string} description
 */
const hintOf = ({ hint, ends }, description) => hint ?? (ends ? "" : description);

/** @param {string} name */
function labelOf(name) {
  if (name === "loras") return "LoRAs";
  const words = name.replace(/^num_/, "number_of_").replaceAll("_", " ");
  return words[0].toUpperCase() + words.slice(1);
}
