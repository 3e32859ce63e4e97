// Asking for predictions, and what can be done with those that were asked for.

import * as history from "../gallery/history.js";
import { stop } from "../gallery/predictions.js";
import * as form from "../inputs/form.js";
import { chooseModel, loadModels, modelFor } from "../inputs/models.js";
import { reuse } from "../inputs/settings.js";
import { ask, askJson, Problem } from "../page/api.js";
import { acting, announce, button, byId, contextOf, faultOf, h, say } from "../page/dom.js";
import { pass } from "../page/stream.js";
import { dataUrl } from "../picture/picture.js";
import { note, repeated } from "./repeats.js";

/** @typedef {import("../inputs/form.js").Model} Model */
/** @typedef {import("../gallery/predictions.js").Drawn} Drawn */
/** @typedef {import("../gallery/predictions.js").Prediction} Prediction */
/** @typedef {import("../gallery/predictions.js").ThereDrawn} ThereDrawn */
/** @typedef {import("../inputs/schema.js").Value} Value */

let isSending = false;

/**
 * Asks for what the form holds.
 * @param {object} [how]
 * @param {boolean} [how.mayRepeat]: whether that may be just what was drawn before.
 */
export async function run({ mayRepeat = false } = {}) {
  const model = form.modelOf();
  if (isSending || !model) return;
  isSending = true;
  byId("run").setAttribute("aria-busy", "true");
  say("");
  byId("form").querySelector(".repeat")?.remove();
  try {
    const collected = await form.collect();
    if (!collected) return;
    const input = await inputFrom(collected);
    const before = mayRepeat ? undefined : repeated(model.id, input);
    if (before && history.all().some(({ id }) => id === before)) return sayRepeated(before);
    const version = form.version();
    const { id } = await send(input, model);
    announce("It is in the queue");
    history.ended(id).then((over) => blame(over, version)); // others may be asked for meanwhile
  } catch (error) {
    if (!(error instanceof Problem && form.blame(error.faults))) say(faultOf(error));
  } finally {
    isSending = false;
    byId("run").removeAttribute("aria-busy");
  }
}

/**
 * What the form holds, as it is sent.
 * @param {import("../inputs/form.js").Contents} contents
 */
export async function inputFrom({ plain, files }) {
  /** @type {Record<string, Value>} */
  const input = { ...plain };
  for (const [name, picture] of Object.entries(files)) input[name] = await dataUrl(picture);
  return input;
}

/**
 * Asks for one prediction, whatever is in the form, and shows its card.
 * @param {Record<string, Value>} input: files as data URLs or links.
 * @param {Model} model
 * @returns {Promise<Prediction>} as it is at first.
 */
export async function send(input, model) {
  const prediction = await post(input, model);
  history.add(prediction);
  return prediction;
}

/**
 * The same, but shows nothing.
 * @param {Record<string, Value>} input
 * @param {Model} model
 * @returns {Promise<Prediction>}
 */
export async function post(input, model) {
  const path = `/v1/models/${model.id}/predictions`;
  const prediction = await askJson(path, { body: { input } });
  note(model.id, input, prediction, history.ended(prediction.id));
  return prediction;
}

/**
 * Says that nothing was sent, since it would give what is there already.
 * @param {string} id: of the prediction that has it.
 */
function sayRepeated(id) {
  const text = "Same settings and seed: the same picture.";
  /** @param {() => unknown} act */
  const going = (act) => () => {
    byId("run").focus();
    notice.remove();
    return act();
  };
  const notice = h(
    "p",
    { class: "notice repeat" },
    `${text} `,
    button(
      "Draw another",
      going(() => {
        form.add({ seed: null });
        return run();
      }),
    ),
    button(
      "Draw it anyway",
      going(() => run({ mayRepeat: true })),
      { class: "quiet" },
    ),
  );
  byId("fault").before(notice);
  byId("form").addEventListener("input", () => notice.remove(), { once: true });
  history.reveal(id);
  announce(text);
}

/**
 * Says at the fields what only the model has found wrong with what was asked for.
 * @param {Prediction} prediction: that is over.
 * @param {number} version: of the form that it was asked for with.
 */
function blame({ error, failure }, version) {
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

/** Draws what the form holds by several strengths, side by side. */
export const tryStrengths = async () => (await import("./grid.js")).tryStrengths();

/** Asks for the settings of a grid, and draws it. */
export const tryGrid = async () => (await import("./grid.js")).ask();

/**
 * Runs the form on several pictures, once the person agrees.
 * @param {Blob[]} files
 */
export const runEach = async (files) => (await import("./batch.js")).runEach(files);

/** Shows the grids and batches that this browser has kept. */
export async function showStrips() {
  if (localStorage.getItem("strips")) await (await import("./strip.js")).showKept();
}

/**
 * What is done with a prediction and its pictures.
 * @type {import("../gallery/predictions.js").Actions}
 */
export const actions = {
  reuse,
  view: async (prediction, index) =>
    (await import("../viewer/viewer.js")).view(prediction, index, actions),
  stop: async (prediction) => pass(await stop(prediction)),
  tryAgain: async (prediction) => (await import("./follow-ups.js")).tryAgain(prediction),
  remove: history.remove,
  share: async (prediction) => (await import("../share/share.js")).share(prediction),
  saveAll: async (prediction) => (await import("../gallery/zip.js")).saveAll(prediction),
  useAsInput,
  paintOn,
  extend,
  enlarge: async (prediction, drawn) =>
    (await import("./follow-ups.js")).enlarge(prediction, drawn),
  vary,
  copyPicture,
};

/**
 * Draws more that are like a picture.
 * @param {Prediction} prediction
 * @param {ThereDrawn} drawn
 * @param {number} strength
 */
async function vary(prediction, drawn, strength = 0.5) {
  const followUps = await import("./follow-ups.js");
  await followUps.vary(prediction, drawn, strength);
}

/**
 * Takes a picture for the input.
 * @param {ThereDrawn} drawn
 */
async function useAsInput({ url, name }) {
  form.chooseTab("inputs");
  await form.pictureField("image")?.takeFrom(url, name);
  form.pictureField("image")?.focus();
}

/**
 * Takes a picture for the input, and has a mask painted on it.
 * @param {ThereDrawn} drawn
 */
async function paintOn(drawn) {
  await choose("mask");
  form.pictureField("mask")?.set(null);
  await useAsInput(drawn);
  await form.pictureField("mask")?.paint();
}

/**
 * Takes a picture for the input, and leads to what is drawn beyond its edges.
 * @param {ThereDrawn} drawn
 */
async function extend(drawn) {
  await choose("extend_left");
  await useAsInput(drawn);
  form.unfold("extend_left");
  form.field("extend_left")?.focus();
}

/**
 * Chooses a model that has an input, where the one of the form lacks it.
 * @param {string} name
 */
async function choose(name) {
  if (form.field(name)) return;
  const model = modelFor("img2img") ?? modelFor("inpainting");
  if (!model) throw new Error("No model that can do this runs here now.");
  await chooseModel(model.id);
}

/**
 * Copies a picture to the clipboard, which takes no other format than PNG.
 * @param {ThereDrawn} drawn
 */
async function copyPicture({ url }) {
  if (!navigator.clipboard?.write)
    throw new Error("The browser does not let this page copy pictures: it must come by https.");
  // Not waited for before: Safari lets a page write only in answer to the person.
  await navigator.clipboard.write([new ClipboardItem({ "image/png": pngOf(url) })]);
  const { toast } = await import("../page/toast.js");
  toast("The picture is copied");
}

/** @param {string} url */
async function pngOf(url) {
  const blob = await (await ask(url)).blob();
  if (blob.type === "image/png") return blob;
  const bitmap = await createImageBitmap(blob);
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  contextOf(canvas).drawImage(bitmap, 0, 0);
  return canvas.convertToBlob();
}
