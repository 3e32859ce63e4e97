// The page: which model, its form, and what was asked for.

import { askJson, here, Problem, token } from "./api.js";
import { codePanel } from "./code.js";
import { acting, announce, button, byId, h, say } from "./dom.js";
import * as form from "./form.js";
import * as history from "./history.js";
import { forgetAll } from "./kept.js";
import { dataUrl, nameFor } from "./picture.js";
import { follow, makeCard } from "./predictions.js";
import { view } from "./viewer.js";

/** @typedef {import("./form.js").Model} Model */
/** @typedef {import("./predictions.js").Drawn} Drawn */
/** @typedef {import("./predictions.js").Prediction} Prediction */
/** @typedef {import("./predictions.js").ThereDrawn} ThereDrawn */
/** @typedef {import("./schema.js").Value} Value */

/**
 * What a prediction was made with.
 * @typedef {object} MadeWith
 * @property {Record<string, Value>} input  as its client sent it.
 * @property {Record<string, any>} settings  by the names of the model's inputs.
 * @property {string} task
 */

/** @type {Record<string, string>} */
const TASKS = {
  img2img: "image to image, text to image",
  inpainting: "inpainting",
  depth: "image to image that keeps the depth",
  upscale: "upscaling",
};
const EXAMPLES = [
  { file: "cat.png", prompt: "a fox", seed: 0 },
  { file: "orange.jpg", prompt: "a pumpkin", seed: 2 },
  { file: "face.png", prompt: "a panda", seed: 3 },
  { file: "car.png", prompt: "a blue car", seed: 4 },
  { file: "house.png", prompt: "a castle", seed: 4 },
];
/** Where settings wait while the page changes from a shared prediction to the form. */
const HANDED_ON = "settings";
/** Milliseconds until models that are not ready are looked at again. */
const LOOK = 2000;

// The models

/** @type {Model[]} */
let models = [];
let looking = 0;

/** Looks which models there are, and what they have now. */
async function loadModels() {
  clearTimeout(looking);
  const before = JSON.stringify(models);
  models = await askJson("/form/models");
  if (!models.length || models.some(({ status }) => status !== "READY"))
    looking = setTimeout(acting(loadModels), LOOK);
  if (JSON.stringify(models) === before) return; // a list that is open must not close
  const select = byId("model");
  const chosen = select.value || localStorage.getItem("model");
  select.replaceChildren(...models.map(optionOf));
  if (chosen && models.some(({ id }) => id === chosen)) select.value = chosen;
  const shown = models.find(({ id }) => id === form.modelOf()?.id);
  if (shown?.id === select.value) await form.renew(shown);
  else if (models.length) await chooseModel(select.value);
}

/** @param {Model} model */
function optionOf({ id, name, task, status }) {
  const state = { READY: "", STARTING: " (starting)" }[status] ?? " (not ready)";
  return h("option", { value: id }, `${name}: ${TASKS[task] ?? task}${state}`);
}

/** @param {string} id */
async function chooseModel(id) {
  const chosen = models.find((one) => one.id === id);
  if (!chosen) return;
  byId("model").value = id;
  localStorage.setItem("model", id);
  await form.draw(chosen);
  byId("run").disabled = false;
}

/**
 * Examples as buttons; the form has what each is for.
 * @param {string} verb
 */
function exampleList(verb) {
  /** @param {typeof EXAMPLES[number]} example */
  const one = ({ file, prompt, seed }) => {
    const take = async () => {
      form.fill({ prompt, seed });
      await form.pictureField("image")?.takeFrom(`/form/examples/${file}`, file);
      announce(`${file} and the prompt ${prompt} are in the form`);
      byId("run").focus();
    };
    const label = `${verb} ${file} and the prompt ${prompt}`;
    const taken = button("", take, { "aria-label": label });
    const source = `/form/examples/${file}`;
    const face = h("img", { src: source, alt: "", loading: "lazy", width: 64, height: 64 });
    taken.append(face, h("span", {}, prompt));
    return h("li", {}, taken);
  };
  return h("ul", { class: "examples" }, ...EXAMPLES.map(one));
}

// Running

let isSending = false;

async function run() {
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

// What is done with a prediction

/** @type {import("./predictions.js").Actions} */
const actions = {
  reuse,
  view: (prediction, index) =>
    view(prediction, index, { reuse, vary, useAsInput }, inputOf(prediction)),
};

/**
 * The settings that a prediction was made with, whatever the client called them, and its task.
 * @param {Prediction} prediction
 * @returns {Promise<MadeWith>}
 */
const madeWith = ({ urls }) => askJson(here(urls.web));

/**
 * Where the image is that a prediction was made from; null if there is none.
 * @param {Prediction} prediction
 */
async function inputOf(prediction) {
  const { settings } = await madeWith(prediction);
  return settings.image ? here(settings.image) : null;
}

/**
 * A prediction's settings in the form, with the seed of one of its pictures; whether all came.
 * @param {Prediction} prediction
 * @param {Drawn?} picture
 */
async function reuse(prediction, picture = null) {
  return takeOver(await madeWith(prediction), picture);
}

/**
 * @param {MadeWith} made
 * @param {Drawn?} picture
 */
async function takeOver({ input, settings, task }, picture) {
  const model = models.find((one) => one.task === task);
  if (model && form.modelOf()?.task !== task) await chooseModel(model.id);
  // A seed that nobody chose would draw the same pictures once more.
  const alone =
    picture === null || picture.seed === null
      ? { seed: input.seed }
      : { seed: picture.seed, num_images: 1 };
  form.fill({ ...settings, ...alone });
  const missing = model ? [] : ["model"];
  for (const { name, isFile } of form.all()) {
    if (!isFile || !settings[name]) continue;
    try {
      const file = await fetch(here(settings[name]));
      if (!file.ok) throw new Error(String(file.status));
      const blob = await file.blob();
      await form.pictureField(name)?.take(blob, await nameFor(blob, name));
    } catch {
      missing.push(name);
    }
  }
  announce("Its settings are in the form");
  form.lead(missing.length ? `The ${missing.join(" and the ")} could not be loaded again.` : "");
  return missing.length === 0;
}

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

/**
 * The settings that a picture carries, instead of the picture.
 * @param {import("./picture.js").Picture} picture
 */
function restore({ making, width, height }) {
  const sides = form.all().find(({ name }) => name === "width")?.choices ?? [];
  const isOffered = [width, height].every((side) => side !== null && sides.includes(side));
  const size = isOffered ? { width, height } : {};
  form.fill({ ...size, ...making });
  announce("Its settings are in the form");
  form.lead("The settings are back. If it was made from an image, choose that image too.");
}

// The page

function showCode() {
  const model = form.modelOf();
  if (byId("code").hidden || !model) return;
  const { plain, files } = form.look();
  const names = Object.entries(files).map(([name, picture]) => [name, picture.name]);
  byId("code").replaceChildren(
    ...codePanel({
      model: model.id,
      inputs: { prompt: "", ...plain },
      files: Object.fromEntries(names),
      hasToken: Boolean(token()),
    }),
  );
}

function listen() {
  byId("form").addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  byId("form").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run();
  });
  byId("reset").addEventListener("click", () => {
    form.fill({});
    say("");
    announce("The form is as it was at first");
  });
  byId("model").addEventListener(
    "change",
    acting(() => chooseModel(byId("model").value)),
  );
  byId("more").addEventListener(
    "click",
    acting(() => history.showMore(actions)),
  );
  document.addEventListener("visibilitychange", () => {
    history.refresh();
    if (!document.hidden) acting(loadModels)();
  });
  for (const [name, other] of [
    ["inputs", "code"],
    ["code", "inputs"],
  ]) {
    byId(`tab-${name}`).addEventListener("click", () => form.chooseTab(name));
    byId(`tab-${name}`).addEventListener("keydown", ({ key }) => {
      if (!["ArrowLeft", "ArrowRight"].includes(key)) return;
      form.chooseTab(other);
      byId(`tab-${other}`).focus();
    });
  }
  byId("forget-token").hidden = !token();
  byId("forget-token").addEventListener("click", async () => {
    await forgetAll();
    location.reload();
  });
  listenForPictures();
}

/** Pictures may be dropped and pasted anywhere; text only where it belongs. */
function listenForPictures() {
  /** @param {Event} event */
  const isText = ({ target }) => target instanceof Element && target.matches("textarea, input");
  /**
   * @param {DataTransfer?} dragged
   * @returns {dragged is DataTransfer} whether it may be a picture.
   */
  const brings = (dragged) =>
    ["Files", "text/uri-list"].some((type) => dragged?.types.includes(type));
  document.addEventListener("dragover", (event) => {
    const dragged = event.dataTransfer;
    if (brings(dragged) && !(isText(event) && dragged.types.includes("text/plain")))
      event.preventDefault();
  });
  document.addEventListener("drop", (event) => {
    const dragged = event.dataTransfer;
    if (!brings(dragged)) return;
    const [file] = dragged.files;
    const lines = dragged.getData("text/uri-list").split(/\r?\n/);
    const url = lines.find((line) => line && !line.startsWith("#"));
    if (!file && (!url || isText(event))) return;
    event.preventDefault();
    const over = event.target instanceof Element ? event.target.closest("[data-name]") : null;
    const name = over?.getAttribute("data-name") || "image";
    const taker = form.pictureField(name) ?? form.pictureField("image");
    if (file) taker?.take(file);
    else if (url) taker?.takeFrom(url);
  });
  document.addEventListener("paste", (event) => {
    const pasted = event.clipboardData;
    const file = pasted?.files[0];
    const isWords = isText(event) && pasted?.types.includes("text/plain");
    if (file && !isWords) form.pictureField("image")?.take(file);
  });
}

/** A prediction that someone has shared: it alone, and a way to go on from it. */
async function showShared() {
  byId("form").hidden = true;
  document.querySelector(".model")?.setAttribute("hidden", "");
  byId("results-title").textContent = "A shared prediction";
  const path = () => location.pathname + location.search;
  try {
    const prediction = await askJson(path());
    /**
     * @param {Prediction} _now
     * @param {Drawn?} picture
     */
    const reuse = async (_now, picture = null) => {
      const { input, settings, task } = await askJson(path());
      sessionStorage.setItem(HANDED_ON, JSON.stringify({ input, settings, task, picture }));
      location.assign("/");
    };
    const input = prediction.settings.image ? here(prediction.settings.image) : null;
    const card = makeCard(prediction, {
      reuse,
      view: (now, index) => view(now, index, { reuse }, input),
    });
    byId("predictions").append(card.element);
    await follow(prediction, path, card.update);
  } catch (error) {
    const own = h("p", {}, h("a", { href: "/" }, "Make a picture of your own"));
    byId("predictions").replaceWith(h("p", { class: "fault", role: "alert" }, error.message), own);
  }
}

async function start() {
  if (location.pathname.startsWith("/p/")) return showShared();
  listen();
  byId("welcome").querySelector("ul")?.replaceWith(exampleList("Try"));
  await form.begin({ changed: showCode, restore, examples: () => exampleList("Take") });
  await Promise.all([loadModels(), acting(() => history.showMore(actions))()]);
  const handedOn = sessionStorage.getItem(HANDED_ON);
  if (!handedOn) return;
  sessionStorage.removeItem(HANDED_ON);
  const { picture, ...made } = JSON.parse(handedOn);
  await takeOver(made, picture);
}

start().catch((error) => say(error.message));
