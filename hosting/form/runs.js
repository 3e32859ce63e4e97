// Asking for a prediction, and what can be done with one that was asked for.

import { askJson, Problem } from "./api.js";
import { acting, announce, byId, say } from "./dom.js";
import * as form from "./form.js";
import * as history from "./history.js";
import { loadModels } from "./models.js";
import { dataUrl } from "./picture.js";
import { reuse } from "./settings.js";

/** @typedef {import("./predictions.js").Drawn} Drawn */
/** @typedef {import("./predictions.js").Prediction} Prediction */
/** @typedef {import("./predictions.js").ThereDrawn} ThereDrawn */
/** @typedef {import("./schema.js").Value} Value */

let isSending = false;

/** Asks for what the form holds. */
export async function run() {
  const model = form.modelOf();
  if (isSending || !model) return;
  isSending = true;
  byId("run").setAttribute("aria-busy", "true");
  say("");
  try {
    const collected = await form.collect();
    if (!collected) return;
    /** @type {Record<string, Value>} */
    const input = { ...collected.plain };
    for (const [name, picture] of Object.entries(collected.files))
      input[name] = await dataUrl(picture);
    const path = `/v1/models/${model.id}/predictions`;
    const prediction = await askJson(path, { body: { input } });
    announce("It is in the queue");
    showNew(prediction, form.version());
  } catch (error) {
    if (!(error instanceof Problem && form.blame(error.faults))) say(error.message);
  } finally {
    isSending = false;
    byId("run").removeAttribute("aria-busy");
  }
}

/**
 * Shows what was asked for. What only the model finds wrong with it is said at its field too.
 * @param {Prediction} prediction
 * @param {number} version: of the form that it was asked for with.
 */
async function showNew(prediction, version) {
  const { error, failure } = await history.add(prediction, actions, true);
  acting(loadModels)(); // by now it may have other LoRAs and words
  if (failure !== "inputs" || !error || form.version() !== version) return;
  for (const line of error.split("\n")) {
    const [name, ...words] = line.split(": ");
    const field = form.field(name);
    if (!field || !words.length) continue;
    field.say(words.join(": "));
    form.unfold(name);
  }
}

/**
 * What is done with a prediction.
 * @type {import("./predictions.js").Actions}
 */
export const actions = {
  reuse,
  view: async (prediction, index) =>
    (await import("./viewer.js")).view(prediction, index, { reuse, vary, useAsInput, share }),
};

/** @param {Prediction} prediction */
const share = async (prediction) => (await import("./share.js")).share(prediction);

/**
 * More of a picture's kind, as many as go at once, by the seeds that follow its own.
 * @param {Prediction} prediction
 * @param {Drawn} picture
 */
async function vary(prediction, picture) {
  if (!(await reuse(prediction, picture))) return;
  const maximum = form.all().find(({ name }) => name === "num_images")?.maximum ?? 1;
  form.add({ seed: (picture.seed ?? 0) + 1, num_images: maximum });
  await run();
}

/** @param {ThereDrawn} picture */
async function useAsInput({ url, name }) {
  form.chooseTab("inputs");
  await form.pictureField("image")?.takeFrom(url, name);
  form.pictureField("image")?.focus();
}
