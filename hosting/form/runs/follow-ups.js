// Predictions that follow from others: more like a picture, a larger one, the same once more. They
// run at once, and leave the form alone.

import * as history from "../gallery/history.js";
import { modelFor } from "../inputs/models.js";
import { madeWith } from "../inputs/settings.js";
import { ask } from "../page/api.js";
import { toast } from "../page/toast.js";
import { dataUrl } from "../picture/picture.js";
import { send } from "./runs.js";

/** @typedef {import("../inputs/form.js").Model} Model */
/** @typedef {import("../gallery/predictions.js").Drawn} Drawn */
/** @typedef {import("../gallery/predictions.js").Prediction} Prediction */
/** @typedef {import("../gallery/predictions.js").ThereDrawn} ThereDrawn */
/** @typedef {import("../inputs/schema.js").Value} Value */
/** @typedef {Record<string, Value>} Inputs */

/** What says how a picture is drawn, and nothing of its size or of where it begins. */
const MANNER = [
  ...["prompt", "negative_prompt", "use_compel", "loras", "clip_skip", "guidance_scale"],
  ...["num_inference_steps", "scheduler", "spacing", "eta", "tiling"],
  ...["output_format", "output_quality"],
];
/** Pictures that are drawn at once. */
const MOST = 4;
/** Pixels a side up to which, in steps of 64, a picture is drawn in just its size. */
const LONGEST_SIDE = 1024;
/** Pixels that a picture may have once it is enlarged by a second pass. */
const LARGEST = 2048 ** 2;
/** The longest side in px of what the upscaling model takes. */
const LONGEST_UPSCALED = 2000;
/** How much a second pass changes of a picture that is only to be larger. */
const REFINE_STRENGTH = 0.3;
const ENLARGED = "The larger picture is in the queue";

/**
 * Draws more that are like a picture: from it, by new seeds. Where its model starts from no picture,
 * or a mask says what of it is drawn, the same settings by new seeds.
 * @param {Prediction} prediction
 * @param {ThereDrawn} drawn
 * @param {number} strength: how far they may be from it, as img2img has it.
 */
export async function vary(prediction, drawn, strength) {
  const { settings, task } = await madeWith(prediction);
  const { seed, ...same } = settings;
  const again = { ...same, num_images: MOST };
  if (task !== "img2img" || settings.mask) return follow(again, serving(task));
  const { image, width, height } = await pictureAt(drawn.url);
  /** @type {Inputs} */
  const input = { ...mannerOf(settings), image, strength, num_images: MOST };
  Object.assign(input, isDrawn(width, height) ? { width, height } : { keep_size: true });
  return follow(input, serving(task));
}

/**
 * Makes a picture larger: by the model that does nothing else where one is served, else by a second
 * pass over it.
 * @param {Prediction} prediction
 * @param {ThereDrawn} drawn
 */
export async function enlarge(prediction, drawn) {
  const { settings } = await madeWith(prediction);
  const { image, width, height } = await pictureAt(drawn.url);
  const upscaler = modelFor("upscale");
  const { tiling, ...manner } = mannerOf(settings);
  if (upscaler && Math.max(width, height) <= LONGEST_UPSCALED) {
    const { loras, clip_skip, num_inference_steps, ...text } = manner; // of another model
    return follow({ ...text, image }, upscaler, ENLARGED);
  }
  const model = serving("img2img");
  const scale = Math.min(2, Math.floor(10 * Math.sqrt(LARGEST / (width * height))) / 10);
  if (scale <= 1) throw new Error("This picture is as large as pictures get here.");
  const [network] = model.description?.upscalers ?? [];
  /** @type {Inputs} */
  const input = { ...manner, image, strength: 0, refine_scale: scale, refine_strength: 0 };
  if (isDrawn(width, height))
    Object.assign(input, { width, height, refine_strength: REFINE_STRENGTH });
  if (tiling && input.width) input.tiling = tiling;
  if (network) input.upscaler = network;
  return follow(input, model, ENLARGED);
}

/**
 * Asks once more for what failed or was stopped.
 * @param {Prediction} prediction
 */
export async function tryAgain(prediction) {
  const { input, settings, task } = await madeWith(prediction);
  const { seed, ...rest } = settings;
  return follow(input.seed == null ? rest : settings, serving(task));
}

/**
 * @param {Inputs} input
 * @param {Model} model
 * @param {string} [one]: what is said where it is a single picture.
 */
async function follow(input, model, one = "The picture is in the queue") {
  const prediction = await send(input, model);
  history.reveal(prediction.id);
  const count = Number(input.num_images ?? 1);
  toast(count === 1 ? one : `${count} pictures are in the queue`);
}

/** @param {string} task */
function serving(task) {
  const model = modelFor(task);
  if (!model) throw new Error("No model that can do this runs here now.");
  return model;
}

/** @param {Record<string, Value>} settings */
const mannerOf = (settings) =>
  /** @type {Inputs} */ (
    Object.fromEntries(
      MANNER.filter((name) => name in settings).map((name) => [name, settings[name]]),
    )
  );

/**
 * Whether the model draws pictures of just this size.
 * @param {number} width
 * @param {number} height
 */
const isDrawn = (width, height) =>
  [width, height].every((side) => side % 64 === 0 && side <= LONGEST_SIDE);

/** @param {string} url */
async function pictureAt(url) {
  const blob = await (await ask(url)).blob();
  const bitmap = await createImageBitmap(blob);
  const { width, height } = bitmap;
  bitmap.close();
  return { image: await dataUrl({ blob }), width, height };
}
