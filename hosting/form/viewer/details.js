// What a picture was made with, as a list.

import { madeWith } from "../inputs/settings.js";
import { here } from "../page/api.js";
import { h } from "../page/dom.js";

/** @typedef {import("../gallery/predictions.js").Prediction} Prediction */
/** @typedef {import("../inputs/settings.js").MadeWith} MadeWith */
/** @typedef {MadeWith & {model: string}} Details */

/**
 * The names of inputs, where they are not those of the API.
 * @type {Record<string, string>}
 */
const LABELS = {
  num_inference_steps: "Steps",
  guidance_scale: "Guidance",
  scheduler: "Sampler",
  loras: "LoRAs",
  use_compel: "Weighted words",
  output_format: "Format",
  output_quality: "Quality",
};
/** Shown elsewhere, or as the picture's own size. */
const ELSEWHERE = ["model", "prompt", "seed", "num_images", "width", "height", "result_size"];
/** The inputs that are pictures. */
const PICTURES = ["image", "mask"];

/**
 * What a prediction was made with, whatever its client called that.
 * @param {Prediction & Partial<Details>} prediction: that of a shared page says it itself.
 * @returns {Promise<Details>}
 */
export const detailsOf = async (prediction) =>
  /** @type {Details} */ (
    /** @type {unknown} */ (prediction.settings ? prediction : await madeWith(prediction))
  );

/**
 * The pictures that a prediction was made from: their names and where they are.
 * @param {Details} details
 * @returns {[string, string][]}
 */
export const madeFrom = ({ settings }) =>
  PICTURES.filter((name) => settings[name]).map((name) => [name, here(settings[name])]);

/**
 * The settings of a picture.
 * @param {Details} details
 * @param {number?} seed
 * @param {{width: number, height: number}?} size
 */
export function settingsList({ model, settings }, seed = null, size = null) {
  /** @type {[string, unknown][]} */
  const rows = [
    ["Model", settings.model ?? model],
    ["Size", size && `${size.width} × ${size.height} px`],
    ["Seed", seed ?? settings.seed],
  ];
  for (const [name, value] of Object.entries(settings))
    if (![...ELSEWHERE, ...PICTURES].includes(name)) rows.push([labelOf(name), value]);
  return h(
    "dl",
    { class: "settings" },
    ...rows
      .filter(([, value]) => value != null && value !== "" && value !== false && `${value}`)
      .flatMap(([label, value]) => [
        h("dt", {}, label),
        h("dd", { dir: "auto" }, value === true ? "yes" : [value].flat().join(", ")),
      ]),
  );
}

/** @param {string} name */
function labelOf(name) {
  const words = name.replaceAll("_", " ");
  return LABELS[name] ?? words[0].toUpperCase() + words.slice(1);
}
