// The page: which model, its form, and the predictions that were asked for.

import { askJson, here, Problem, token } from "./api.js";
import { codePanel } from "./code.js";
import { announce, button, byId, h } from "./dom.js";
import { makeField } from "./fields.js";
import { dataUrl } from "./picture.js";
import { makePictureField } from "./picture-field.js";
import { follow, makeCard, stop } from "./predictions.js";
import { inputsOf, sizeOf } from "./schema.js";
import { view } from "./viewer.js";

const TASKS = { img2img: "image to image, text to image", inpainting: "inpainting", depth: "image to image that keeps the depth", upscale: "upscaling" };
const EXAMPLES = [
  { file: "cat.png", prompt: "a fox", seed: 4 },
  { file: "orange.jpg", prompt: "a jack-o-lantern", seed: 1 },
  { file: "face.png", prompt: "a panda", seed: 1 },
  { file: "car.png", prompt: "a blue automobile", seed: 1 },
  { file: "house.png", prompt: "a castle", seed: 4 },
];
/** What is of no use without an image. */
const ON_IMAGES = ["mask", "strength"];
const AT_ONCE = 12;
/** Where settings wait while the page changes from a shared prediction to the form. */
const HANDED_ON = "settings";

let models = [];
let model = null;
let inputs = [];
let fields = {};

// The form

async function loadModels() {
  const before = JSON.stringify(models);
  models = await askJson("/form/models");
  if (models.some(({ status }) => status !== "READY") || !models.length) setTimeout(loadModels, 2000);
  if (JSON.stringify(models) === before) return; // a list that is open must not close
  const select = byId("model");
  const chosen = select.value || localStorage.getItem("model");
  select.replaceChildren(
    ...models.map(({ id, name, task, status }) =>
      h("option", { value: id }, `${name}: ${TASKS[task] ?? task}${status === "READY" ? "" : ` (${status === "STARTING" ? "starting" : "not ready"})`}`),
    ),
  );
  if (models.some(({ id }) => id === chosen)) select.value = chosen;
  if (models.length && model?.id !== select.value) await chooseModel(select.value);
}

async function chooseModel(id) {
  model = models.find((one) => one.id === id);
  byId("model").value = id;
  localStorage.setItem("model", id);
  const before = fields;
  inputs = inputsOf(await askJson(`/openapi.json?model=${encodeURIComponent(id)}`));
  fields = {};
  for (const input of inputs) fields[input.name] = input.isFile ? pictureField(input) : makeField(input, changed);
  // What two models have in common stays.
  const kept = inputs.filter(({ name, isFile }) => isFile && before[name]?.get);
  fill(draft(), false);
  for (const { name } of kept) fields[name].set(tryGet(before[name]));
  const elements = (isFirst) => inputs.filter((input) => input.isFirst === isFirst).map(({ name }) => fields[name].element);
  byId("first").replaceChildren(...elements(true));
  byId("rest").replaceChildren(...elements(false));
  changed();
}

const draft = () => JSON.parse(localStorage.getItem("draft") ?? "{}");

function tryGet(field) {
  try {
    return field.get();
  } catch {
    return null;
  }
}

function pictureField(input) {
  if (input.name !== "mask") {
    const another = () => {
      fields.mask?.show(); // it lies on the picture
      changed();
    };
    return makePictureField(input, another, { restore, examples: exampleList("Take") });
  }
  return makePictureField(input, changed, {
    under: () => tryGet(fields.image),
    async paint(mask) {
      const image = tryGet(fields.image);
      if (!image?.width) throw new Error("Choose an image first: the mask is painted on it.");
      // Few people paint: the others don't wait for it.
      const { paintMask } = await import("./mask-editor.js");
      return paintMask(image, mask);
    },
  });
}

/** Examples as buttons; the form has what each is for. */
function exampleList(verb) {
  const one = ({ file, prompt, seed }) => {
    const face = h("img", { src: `/form/examples/${file}`, alt: "", loading: "lazy", width: 64, height: 64 });
    const act = async () => {
      await fields.image?.takeFrom(`/form/examples/${file}`, file);
      fill({ prompt, seed }, false);
      announce(`${file} and the prompt ${prompt} are in the form`);
      byId("run").focus();
    };
    const taken = button("", act, { "aria-label": `${verb} ${file} and the prompt ${prompt}` });
    taken.append(face, h("span", {}, prompt));
    return h("li", {}, taken);
  };
  return h("ul", { class: "examples" }, ...EXAMPLES.map(one));
}

/** Something in the form is another. */
function changed() {
  const values = {};
  for (const { name, isFile } of inputs) if (!isFile) values[name] = tryGet(fields[name]);
  const kept = inputs.filter(({ name, isFile, fallback }) => !isFile && values[name] !== fallback);
  localStorage.setItem("draft", JSON.stringify(Object.fromEntries(kept.map(({ name }) => [name, values[name]]))));
  const sides = inputs.find(({ name }) => name === "width")?.choices;
  const image = fields.image && tryGet(fields.image);
  if (image?.width) fields.image.crop(sides ? sizeOf(values.width, values.height, image, sides, model.native_size) : null);
  const isUseless = !image && inputs.some(({ name, isRequired }) => name === "image" && !isRequired);
  for (const name of ON_IMAGES) if (fields[name]) fields[name].element.hidden = isUseless && !tryGet(fields.mask);
  if (!byId("code").hidden) showCode();
}

/**
 * Puts values into the form; what they lack gets its default.
 * @param {boolean} whole: files too: those that the values lack are taken out.
 */
function fill(values, whole = true) {
  for (const { name, isFile } of inputs) {
    if (!isFile && (whole || name in values)) fields[name].set(values[name]);
    if (isFile && whole) fields[name].set(null);
  }
  changed();
}

/** The settings that a picture carries, instead of the picture. */
function restore(making) {
  fill(making);
  announce("Its settings are in the form");
  say("The settings are back. If the picture was made from an image, choose that image too.");
}

const say = (text) => (byId("fault").textContent = text);

/**
 * What the form holds, as it is sent: what differs from the model's own choice.
 * @returns {{plain, files}} null where something is wrong, which its field then says.
 */
function collect() {
  const [plain, files] = [{}, {}];
  let wrong = null;
  for (const { name, isFile, isRequired, fallback } of inputs) {
    try {
      const value = fields[name].get();
      fields[name].say("");
      if (isFile && value) files[name] = value;
      else if (!isFile && (isRequired || value !== fallback)) plain[name] = value;
    } catch (error) {
      fields[name].say(error.message);
      wrong ??= name;
    }
  }
  if (files.mask && !files.image && fields.image) {
    fields.image.say("A mask needs an image to be laid on.");
    wrong ??= "image";
  }
  if (wrong) complain(wrong);
  return wrong ? null : { plain, files };
}

/** Leads the person to a field. */
function complain(name) {
  chooseTab("inputs");
  if (byId("rest").contains(fields[name].element)) byId("advanced").open = true;
  fields[name].focus();
}

async function run() {
  say("");
  const collected = collect();
  if (!collected) return;
  const sending = byId("run");
  sending.setAttribute("aria-busy", "true");
  try {
    const input = { ...collected.plain };
    for (const [name, picture] of Object.entries(collected.files)) input[name] = await dataUrl(picture);
    const prediction = await askJson(`/v1/models/${model.id}/predictions`, { input });
    add(prediction, true);
    announce("It is in the queue");
  } catch (error) {
    if (!(error instanceof Problem)) return say(error.message);
    blame(error.faults, error.message);
  } finally {
    sending.removeAttribute("aria-busy");
  }
}

/** Says what the server found wrong, where it is wrong. */
function blame(faults, otherwise) {
  const known = Object.keys(faults).filter((name) => fields[name]);
  for (const name of known) fields[name].say(faults[name]);
  if (known.length) complain(known[0]);
  else say(otherwise);
}

// The predictions

let older = "/v1/predictions";
let unseen = [];

const actions = { reuse, vary, stop: stopIt, view: (prediction, index) => view(prediction, index, { reuse, vary, useAsInput }) };

/** A card for a prediction, which is followed to its end. */
function add(prediction, isNew = false) {
  const card = makeCard(prediction, actions);
  byId("welcome").hidden = true;
  if (isNew) {
    byId("predictions").prepend(card.element);
    // Where the form and the pictures are not side by side, the new card is out of sight.
    if (matchMedia("(width < 60rem)").matches) byId("results").scrollIntoView();
  } else byId("predictions").append(card.element);
  follow(prediction, card.update).then(
    () => isNew && blameFor(prediction),
    (error) => say(error.message),
  );
}

/** What only the model found wrong with a prediction is said at its field too. */
async function blameFor(prediction) {
  const { error } = await askJson(here(prediction.urls.web));
  for (const line of (error ?? "").split("\n")) {
    const [name, ...words] = line.split(": ");
    if (words.length && fields[name]) fields[name].say(words.join(": "));
  }
}

async function showMore() {
  if (!unseen.length && older) {
    const page = await askJson(older);
    unseen = page.results;
    older = page.next && here(page.next);
  }
  unseen.splice(0, AT_ONCE).forEach((prediction) => add(prediction));
  byId("more").hidden = !unseen.length && !older;
  byId("welcome").hidden = byId("predictions").children.length > 0;
}

async function stopIt(prediction) {
  try {
    await stop(prediction);
  } catch (error) {
    say(error.message);
  }
}

/** The prediction's settings in the form, with the seed of one of its pictures. */
async function reuse(prediction, picture = null) {
  if (models.some(({ id }) => id === prediction.model) && model.id !== prediction.model) await chooseModel(prediction.model);
  fill({ ...prediction.input, ...(picture?.seed == null ? {} : { seed: picture.seed, num_images: 1 }) });
  const missing = [];
  for (const { name, isFile } of inputs) {
    const url = prediction.input[name];
    if (isFile && url && !(await fields[name].takeFrom(url, `the ${name} from before`))) missing.push(name);
  }
  say(missing.length ? `The ${missing.join(" and the ")} could not be had again. Choose another.` : "");
  announce("Its settings are in the form");
  byId("run").scrollIntoView({ block: "center" });
  byId("run").focus();
}

/** Four more of a picture's kind, by the seeds that follow its own. */
async function vary(prediction, picture) {
  await reuse(prediction, picture);
  fill({ seed: picture.seed + 1, num_images: inputs.find(({ name }) => name === "num_images").maximum }, false);
  await run();
}

async function useAsInput({ url, name }) {
  await fields.image.takeFrom(url, name);
  fields.image.focus();
}

// The page

function chooseTab(name) {
  for (const one of ["inputs", "code"]) {
    const tab = byId(`tab-${one}`);
    tab.setAttribute("aria-selected", one === name);
    tab.tabIndex = one === name ? 0 : -1;
    byId(one).hidden = one !== name;
  }
  if (name === "code") showCode();
}

function showCode() {
  const [plain, files] = [{}, {}];
  for (const { name, isFile, isRequired, fallback } of inputs) {
    const value = tryGet(fields[name]);
    if (isFile && value) files[name] = value.name;
    else if (!isFile && (isRequired || (value !== null && value !== fallback))) plain[name] = value ?? "";
  }
  byId("code").replaceChildren(...codePanel({ model: model.id, inputs: plain, files, hasToken: Boolean(token()) }));
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
    fill({});
    say("");
    announce("The form is as it was at first");
  });
  byId("model").addEventListener("change", (event) => chooseModel(event.target.value));
  byId("more").addEventListener("click", showMore);
  for (const name of ["inputs", "code"]) {
    byId(`tab-${name}`).addEventListener("click", () => chooseTab(name));
    byId(`tab-${name}`).addEventListener("keydown", (event) => {
      if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
      const other = name === "inputs" ? "code" : "inputs";
      chooseTab(other);
      byId(`tab-${other}`).focus();
    });
  }
  byId("forget-token").hidden = !token();
  byId("forget-token").addEventListener("click", () => {
    localStorage.removeItem("token");
    location.reload();
  });
  // Pictures may be dropped and pasted anywhere.
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    const field = fields[event.target.closest?.("[data-name]")?.dataset.name];
    const [file] = event.dataTransfer.files;
    const url = event.dataTransfer.getData("text/uri-list").split("\n")[0];
    const taker = field?.take ? field : fields.image;
    if (file) taker?.take(file);
    else if (url) taker?.takeFrom(url);
  });
  document.addEventListener("paste", (event) => {
    const [file] = event.clipboardData.files;
    if (file) fields.image?.take(file);
  });
}

/** A prediction that someone has shared: it alone, and a way to go on from it. */
async function showShared() {
  byId("form").hidden = true;
  document.querySelector(".model").hidden = true;
  byId("results-title").textContent = "A shared prediction";
  const handOn = (prediction, picture) => {
    sessionStorage.setItem(HANDED_ON, JSON.stringify({ prediction, picture }));
    location.assign("/");
  };
  try {
    const prediction = await askJson(location.pathname + location.search);
    const card = makeCard(prediction, {
      reuse: handOn,
      view: (now, index) => view(now, index, { reuse: handOn }),
    });
    byId("predictions").append(card.element);
    await follow(prediction, card.update);
  } catch (error) {
    byId("predictions").replaceWith(h("p", { class: "fault", role: "alert" }, error.message), h("p", {}, h("a", { href: "/" }, "Make a picture of your own")));
  }
}

async function start() {
  if (location.pathname.startsWith("/p/")) return showShared();
  listen();
  byId("welcome").querySelector("ul").replaceWith(exampleList("Try"));
  await loadModels();
  await showMore();
  const handedOn = sessionStorage.getItem(HANDED_ON);
  if (handedOn) {
    sessionStorage.removeItem(HANDED_ON);
    const { prediction, picture } = JSON.parse(handedOn);
    await reuse(prediction, picture);
  }
}

start().catch((error) => say(error.message));
