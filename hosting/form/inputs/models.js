// The models that this server runs, and which of them is chosen.

import { askOnce, MODELS, preferred } from "../ahead.js";
import { acting, byId, h, inTurn } from "../page/dom.js";
import * as form from "./form.js";
import { keepText } from "./kept.js";

/** @typedef {import("./form.js").Model} Model */

/** @type {Record<string, string>} */
const TASKS = {
  img2img: "image to image, text to image",
  inpainting: "inpainting",
  depth: "image to image that keeps the depth",
  upscale: "upscaling",
};
/** @type {Record<string, string>} what is said while a model is in a state; else AWAY. */
const STATES = {
  READY: "",
  STARTING: "The model is starting. What you run now is drawn as soon as it is ready.",
  IDLE: "Nobody has drawn for a while, so the model rests. It starts when you run something.",
};
const AWAY = "The model is away. What you run now waits until it is back.";
/** Milliseconds until models that are not ready are looked at again. */
const LOOK = 2000;

/** @type {Model[]} */
let models = [];
let looking = 0;

/**
 * Looks which models there are, and what they have now. In turn: else the form might be drawn
 * twice, under the hands of a person.
 */
export const loadModels = inTurn(async () => {
  clearTimeout(looking);
  const before = JSON.stringify(models);
  models = await askOnce(MODELS);
  if (!models.length || models.some(({ status }) => !["READY", "IDLE"].includes(status)))
    looking = setTimeout(acting(loadModels), LOOK);
  showState();
  if (JSON.stringify(models) === before) return; // a list that is open must not close
  const select = byId("model");
  const chosen = models.find(({ id }) => id === select.value) ?? preferred(models);
  select.replaceChildren(...models.map(optionOf));
  if (chosen) select.value = chosen.id;
  const shown = models.find(({ id }) => id === form.modelOf()?.id);
  if (shown?.id === select.value) await form.renew(shown);
  else if (models.length) await chooseModel(select.value);
});

/** Says whether what is run now waits for the model. */
function showState() {
  const chosen = models.find(({ id }) => id === form.modelOf()?.id);
  byId("state").textContent = chosen ? (STATES[chosen.status] ?? AWAY) : "";
  if (!form.modelOf())
    byId("first").replaceChildren(h("p", { class: "hint" }, "The models are starting …"));
}

/** @param {Model} model */
function optionOf({ id, name, task, status }) {
  const state = { READY: "", STARTING: " (starting)", IDLE: " (rests)" }[status] ?? " (not ready)";
  return h("option", { value: id }, `${name}: ${TASKS[task] ?? task}${state}`);
}

/** @param {string} id */
export async function chooseModel(id) {
  const chosen = models.find((one) => one.id === id);
  if (!chosen) return;
  byId("model").value = id;
  keepText("model", id);
  await form.draw(chosen);
  byId("run").disabled = false;
  showState();
}

/**
 * The model that serves a task; undefined where none does.
 * @param {string} task
 * @param {string} [name]: of one of several, if that is there.
 */
export const modelFor = (task, name) => {
  const fit = models.filter((one) => one.task === task);
  return fit.find((one) => one.name === name) ?? fit[0];
};
