// The form of the chosen model: its fields, what is in them, and what of it is sent.

import { isForeign, layOn } from "../mask/mask.js";
import { askJson } from "../page/api.js";
import { acting, announce, button, byId, h, say } from "../page/dom.js";
import { chooseTab } from "../page/tabs.js";
import { isSized } from "../picture/chosen.js";
import { makePictureField } from "../picture/field.js";
import { frameOf } from "../picture/frame.js";
import { readPicture } from "../picture/picture.js";
import { makeField } from "./fields.js";
import {
  anyField,
  field,
  held,
  inputs,
  inputValue,
  makeFields,
  othersOf,
  pictureFields,
  pictureIn,
  plainFields,
  takeIn,
  tryGet,
} from "./fieldset.js";
import { draft, keepDraft, keepFile, files as keptFiles } from "./kept.js";
import { makeLoraField } from "./loras.js";
import { furnishPrompts } from "./prompt.js";
import { CONDITIONAL, uselessOf } from "./relevance.js";
import { grouped, inputsOf } from "./schema.js";
import { makeSeedField } from "./seed.js";
import { makeShapes } from "./shapes.js";
import { write } from "./words.js";

export { blame, collect, field, look, pictureField, unfold } from "./fieldset.js";
export { chooseTab };

/**
 * A model that can be chosen.
 * @typedef {object} Model
 * @property {string} id  owner/name.
 * @property {string} name
 * @property {string} task
 * @property {string} status
 * @property {Description?} description  what its worker says of it.
 */
/**
 * @typedef {object} Description
 * @property {number} native_size
 * @property {boolean} checker
 * @property {string[]} upscalers
 * @property {number?} [token_limit]  of a prompt; null where nobody can count them.
 * @property {Vocabulary?} vocabulary
 * @property {import("./loras.js").Lora[]} loras
 * @property {import("./words.js").Embedding[]} embeddings
 */
/** @typedef {import("./vocabulary.js").Vocabulary} Vocabulary */
/** @typedef {import("./fieldset.js").Contents} Contents */
/** @typedef {import("./fields.js").Field} Field */
/** @typedef {import("../picture/picture.js").Picture} Picture */
/** @typedef {import("../picture/field.js").PictureField} PictureField */
/** @typedef {import("./schema.js").Input} Input */
/** @typedef {import("./schema.js").Value} Value */

/** @type {Model?} */
let model = null;
/** @type {import("./loras.js").LoraField | undefined} */
let loraField;
/** @type {import("./prompt.js").Prompts | undefined} */
let prompts;
/** @type {ReturnType<typeof makeShapes> | undefined} */
let shapes;
/** The pictures that were chosen, by the names of the inputs: for models that have those too. */
const pictures = /** @type {Map<string, Picture>} */ (new Map());
let changes = 0;
let onChange = () => {};
/** @type {{examples: () => HTMLElement, restore: (picture: Picture) => unknown}} */
let pictureActions;
/** @type {import("../page/dom.js").Listener} */
let strengthsTried = () => {};

/**
 * Begins with what the browser has kept of the form.
 * @param {object} listeners
 * @param {() => void} listeners.changed: something in the form is another.
 * @param {() => HTMLElement} listeners.examples: as of `makePictureField`.
 * @param {(picture: Picture) => unknown} listeners.restore: likewise.
 * @param {import("../page/dom.js").Listener} listeners.tryStrengths: draws by several strengths.
 */
export async function begin({ changed, tryStrengths, ...rest }) {
  onChange = changed;
  strengthsTried = tryStrengths;
  pictureActions = rest;
  for (const [name, { blob, name: known }] of await keptFiles())
    try {
      pictures.set(name, await readPicture(blob, known));
    } catch {
      keepFile(name, null); // this browser can't read it any more
    }
}

/**
 * Draws the form of a model. What two models have in common stays.
 * @param {Model} chosen
 */
export async function draw(chosen) {
  model = chosen;
  const path = `/openapi.json?model=${encodeURIComponent(chosen.id)}`;
  const document = await askJson(path);
  if (model.id !== chosen.id) return; // another was chosen meanwhile
  loraField = undefined;
  makeFields(inputsOf(document, upscalersOf(chosen)), makePlain, makePicture);
  shapes = plainFields.width && plainFields.height && makeShapes(sidesOf());
  placeFields();
  const prompt = textOf("prompt");
  prompts = prompt ? furnishPrompts(prompt, textOf("negative_prompt")) : undefined;
  showModel();
  takeIn(draft());
  for (const [name, field] of Object.entries(pictureFields)) {
    const picture = pictures.get(name);
    if (picture) field.set(picture);
  }
  changed();
}

/**
 * The field of an input that is no picture.
 * @param {Input} input
 * @returns {Field}
 */
function makePlain(input) {
  if (input.name === "seed") return makeSeedField(input, changed);
  if (input.name !== "loras") return makeField(input, changed);
  loraField = makeLoras(input);
  return loraField;
}

/** The width and the height, as one thing. */
function sidesOf() {
  const sides = inputs.find(({ name }) => name === "width")?.choices ?? [];
  /** @param {string} name */
  const side = (name) => /** @type {number?} */ (tryGet(plainFields[name]));
  return {
    sides: sides.map(Number),
    chosen: () => ({ width: side("width"), height: side("height") }),
    choose: add,
  };
}

/** Puts the fields where they belong. */
function placeFields() {
  /** @param {Input[]} some */
  const elements = (some) => some.map(({ name }) => anyField(name).element);
  const elsewhere = inputs.filter(({ name }) => name === "seed");
  const [first, rest] = [true, false].map((isFirst) =>
    inputs.filter((input) => input.isFirst === isFirst && !elsewhere.includes(input)),
  );
  byId("first").replaceChildren(...elements(first));
  if (shapes)
    (plainFields.num_images?.element ?? byId("first").lastElementChild)?.before(shapes.element);
  const label = plainFields.strength?.element.querySelector("label");
  label?.after(button("Try strengths", strengthsTried, { class: "quiet after-label" }));
  byId("rest").replaceChildren(
    ...grouped(rest).flatMap(([title, some]) =>
      title
        ? [h("details", { class: "group" }, h("summary", {}, title), ...elements(some))]
        : elements(some),
    ),
  );
  byId("seed").replaceChildren(...elements(elsewhere));
}

/**
 * Takes what is known now of the model that the form is for.
 * @param {Model} newer
 */
export async function renew(newer) {
  const before = upscalersOf(model);
  model = newer;
  if (String(upscalersOf(newer)) !== String(before)) return draw(newer);
  showModel();
  changed();
}

/** @param {Model?} of */
const upscalersOf = (of) => of?.description?.upscalers ?? [];

/** Shows what the model says of itself: its LoRAs, its words, its limits. */
function showModel() {
  loraField?.offer(model?.description?.loras ?? null);
  if (model) prompts?.show(model);
}

/** @param {Input} input */
const makeLoras = (input) =>
  makeLoraField(input, changed, (trigger) => {
    const prompt = textOf("prompt");
    if (prompt) write(prompt, trigger);
  });

/**
 * @param {string} name: of an input.
 * @returns {HTMLTextAreaElement?}
 */
const textOf = (name) => plainFields[name]?.element.querySelector("textarea") ?? null;

/** The model that the form is for; null before there is one. */
export const modelOf = () => (inputs.length ? model : null);

/** The inputs of the model. */
export const all = () => inputs;

/** How often the form was changed: whether it still holds what it held. */
export const version = () => changes;

/** @param {Input} input */
function makePicture(input) {
  const chosen = () => {
    const picture = pictureIn(input.name);
    const isOther = picture !== (pictures.get(input.name) ?? null);
    if (isOther) keepFile(input.name, picture);
    if (picture) pictures.set(input.name, picture);
    else pictures.delete(input.name);
    if (input.name === "mask" && isOther) layOn(pictureIn("image"));
    if (input.name === "image") pictureFields.mask?.show(); // it lies on the picture
    changed();
  };
  if (input.name === "mask")
    return makePictureField(input, chosen, { under: () => pictureIn("image"), paint: paintMask });
  const { restore, examples } = pictureActions;
  const fit = inputs.some(({ name }) => name === "crop") ? add : undefined;
  return makePictureField(input, chosen, { restore, examples: examples(), fit });
}

/**
 * Has the person paint a mask on the image.
 * @param {Picture?} before: the mask that there is.
 */
async function paintMask(before) {
  const image = pictureIn("image");
  if (!image) throw new Error("Choose an image first: the mask is painted on it.");
  if (!isSized(image))
    throw new Error("This browser can't show the image, so nothing can be painted on it.");
  const blur = plainFields.mask_blur ? Number(tryGet(plainFields.mask_blur)) : null;
  // Few people paint: the others don't wait for it.
  const editor = await import("../mask/editor.js");
  const painted = await editor.paintMask(image, isForeign(image) ? null : before, {
    box: frame(image)?.box,
    blur,
  });
  if (painted?.blur != null) plainFields.mask_blur.set(painted.blur);
  return painted?.mask ?? null;
}

/** Says at the mask what is to be known of it. */
const noteOnMask = acting(async () => {
  const { showNotes } = await import("../mask/notes.js");
  const [mask, image] = [pictureIn("mask"), pictureIn("image")];
  if (!mask || !image) return;
  await showNotes({
    field: pictureFields.mask,
    mask,
    image,
    frame: isSized(image) ? frame(image) : null,
    isForeign: isForeign(image),
    get: (name) => tryGet(plainFields[name]),
    strength: inputs.find(({ name }) => name === "strength")?.fallback ?? null,
    keep() {
      layOn(image);
      changed();
    },
    add,
    moveTo: pictureFields.image.moveTo,
  });
});

/** Something in the form is another. */
function changed() {
  changes++;
  const useless = uselessOf(inputs, inputValue);
  for (const name of CONDITIONAL) field(name)?.element.toggleAttribute("hidden", useless.has(name));
  keepDraft({ ...othersOf(draft()), ...held() });
  const image = pictureIn("image");
  if (image) pictureFields.image.crop(isSized(image) ? frame(image) : null);
  if (image && pictureIn("mask")) noteOnMask();
  shapes?.show(model?.description?.native_size ?? null, Boolean(image));
  if (model) prompts?.count(model, inputValue("use_compel") === true);
  onChange();
}

/** @param {import("../picture/picture.js").SizedPicture} image */
function frame(image) {
  if (!plainFields.width || !model) return null;
  const native = model.description?.native_size ?? null;
  return frameOf(image, (name) => tryGet(plainFields[name]), Boolean(pictureIn("mask")), native);
}

/**
 * Puts values into the form; what they lack gets the model's own choice, and files are taken out.
 * @param {Record<string, Value | undefined>} values: by the names of the inputs.
 */
export function fill(values) {
  for (const [name, field] of Object.entries(plainFields)) field.set(values[name]);
  for (const field of Object.values(pictureFields)) field.set(null);
  changed();
}

/**
 * Empties the form.
 * @returns {() => Promise<void>} puts back what was in it.
 */
export function empty() {
  const values = held();
  const files = new Map(pictures);
  fill({});
  return async () => {
    fill(values);
    for (const [name, { blob, name: known }] of files) await pictureFields[name]?.take(blob, known);
  };
}

/**
 * Puts values into the form, and leaves the rest as it is.
 * @param {Record<string, Value>} values: by the names of inputs that are no pictures.
 */
export function add(values) {
  for (const [name, value] of Object.entries(values)) plainFields[name]?.set(value);
  changed();
}

/**
 * Keeps a seed for what is run from now on.
 * @param {number} seed
 */
export function lockSeed(seed) {
  add({ seed });
  announce(`The seed is ${seed} from now on`);
}

/** Leads the person to the button that runs what is in the form now. */
export function lead(text = "") {
  chooseTab("inputs");
  say(text);
  byId("run").scrollIntoView({ block: "center" });
  byId("run").focus();
}
