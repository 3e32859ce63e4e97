// The form of the chosen model: its fields, what is in them, and what of it is sent.

import { askOnce, schemaPath } from "../ahead.js";
import { groundOf, isForeign, layOn, madeFor } from "../mask/mask.js";
import { acting, button, byId, h, say } from "../page/dom.js";
import { chooseTab } from "../page/tabs.js";
import { isSized } from "../picture/chosen.js";
import { makePictureField } from "../picture/field.js";
import { frameOf, resultSize } from "../picture/frame.js";
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
  for (const [name, { blob, name: known, ground = null }] of await keptFiles())
    try {
      pictures.set(name, await readPicture(blob, known));
      if (name === "mask") layOn(ground);
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
  const document = await askOnce(schemaPath(chosen));
  // What is being read would come into a field that is gone.
  await Promise.allSettled(Object.values(pictureFields).map((field) => field.ready()));
  if (model.id !== chosen.id) return; // another was chosen meanwhile
  loraField = undefined;
  const lookBack = attention();
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
  lookBack();
}

/**
 * Where the person is in the form, which may be drawn anew while they type.
 * @returns {() => void} brings them back.
 */
function attention() {
  const active = document.activeElement;
  if (!active?.id || !byId("inputs").contains(active)) return () => {};
  const [start, end] =
    active instanceof HTMLTextAreaElement || active instanceof HTMLInputElement
      ? [active.selectionStart, active.selectionEnd]
      : [null, null];
  const scrolled = byId("inputs").scrollTop;
  return () => {
    const now = document.getElementById(active.id);
    byId("inputs").scrollTop = scrolled;
    now?.focus({ preventScroll: true });
    if (now instanceof HTMLTextAreaElement || now instanceof HTMLInputElement)
      if (start !== null) now.setSelectionRange(start, end);
  };
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
  const side = (name) => /** @type {number?} */ (plainValue(name));
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
  const open = [...byId("rest").querySelectorAll(".group[open] > summary")];
  const opened = open.map(({ textContent }) => textContent);
  byId("rest").replaceChildren(
    ...grouped(rest).flatMap(([title, some]) => {
      if (!title) return elements(some);
      const properties = { class: "group", open: opened.includes(title) };
      return [h("details", properties, h("summary", {}, title), ...elements(some))];
    }),
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
  follow();
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
    if (picture) pictures.set(input.name, picture);
    else pictures.delete(input.name);
    if (isOther && input.name === "mask") layMaskOn(groundOf(pictureIn("image")));
    else if (isOther) keepFile(input.name, picture);
    if (input.name === "image") pictureFields.mask?.show(); // it lies on the picture
    changed();
  };
  if (input.name === "mask")
    return makePictureField(input, chosen, { under: () => pictureIn("image"), paint: paintMask });
  const { restore, examples } = pictureActions;
  const fit = inputs.some(({ name }) => name === "crop") ? add : undefined;
  return makePictureField(input, chosen, { restore, examples: examples(), fit, another: uncrop });
}

/** Another picture is used as a whole: the crop was one of the picture before. */
function uncrop() {
  if (plainFields.crop) return add({ crop: "" });
  const { crop, ...rest } = draft(); // another model's
  keepDraft(rest);
}

/**
 * The mask is one for an image from now on, after a reload too.
 * @param {import("../mask/mask.js").Ground?} ground
 */
function layMaskOn(ground) {
  layOn(ground);
  const mask = pictureIn("mask");
  keepFile("mask", mask && { ...mask, ground });
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
    get: plainValue,
  });
  if (!painted) return null;
  if (painted.blur !== null) plainFields.mask_blur.set(painted.blur);
  // In what was painted white is drawn anew, however the mask before was meant.
  add({ invert_mask: null, mask_source: null });
  return painted.mask;
}

/** Says at the mask what is to be known of it. */
const noteOnMask = acting(async () => {
  const { clearNotes, showNotes } = await import("../mask/notes.js");
  const [mask, image] = [pictureIn("mask"), pictureIn("image")];
  if (!mask) return;
  if (!image) return clearNotes(pictureFields.mask);
  await showNotes({
    field: pictureFields.mask,
    mask,
    image,
    frame: isSized(image) ? frame(image) : null,
    isForeign: isForeign(image),
    get: plainValue,
    strength: inputs.find(({ name }) => name === "strength")?.fallback ?? null,
    keep() {
      layMaskOn(groundOf(image));
      changed();
    },
    add,
    moveTo: pictureFields.image.moveTo,
    toPrompt() {
      const prompt = textOf("prompt");
      prompt?.focus();
      prompt?.select();
    },
  });
});

/** @param {string} name: of an input that is no picture. */
const plainValue = (name) => tryGet(plainFields[name]);

/** Something in the form is another. */
function changed() {
  changes++;
  byId("form").querySelector(".repeat")?.remove(); // what it says is of the form before
  follow();
}

/** Shows what follows from what is in the form, and from what the model says of itself. */
function follow() {
  const useless = uselessOf(inputs, inputValue);
  for (const name of CONDITIONAL) field(name)?.element.toggleAttribute("hidden", useless.has(name));
  keepDraft({ ...othersOf(draft()), ...held() });
  const image = pictureIn("image");
  if (image) pictureFields.image.crop(isSized(image) ? frame(image) : null);
  if (pictureIn("mask")) noteOnMask();
  shapes?.show(model?.description?.native_size ?? null, Boolean(image), resultSize(plainValue));
  if (model) prompts?.count(model, inputValue("use_compel") === true);
  onChange();
}

/** @param {import("../picture/picture.js").SizedPicture} image */
function frame(image) {
  if (!plainFields.width || !model) return null;
  const native = model.description?.native_size ?? null;
  return frameOf(image, plainValue, Boolean(pictureIn("mask")), native);
}

/**
 * Puts values into the form; what they lack gets the model's own choice, and files are taken out.
 * @param {Record<string, Value | undefined>} values: by the names of the inputs.
 * @returns {() => Promise<void>} puts back what was in it.
 */
export function fill(values) {
  const [before, files, ground] = [held(), new Map(pictures), madeFor()];
  for (const [name, field] of Object.entries(plainFields)) field.set(values[name]);
  for (const field of Object.values(pictureFields)) field.set(null);
  changed();
  return async () => {
    fill(before);
    for (const [name, { blob, name: known }] of files) await pictureFields[name]?.take(blob, known);
    if (!pictureIn("mask")) return;
    layMaskOn(ground);
    changed();
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

/** Leads the person to the button that runs what is in the form now. */
export function lead(text = "") {
  chooseTab("inputs");
  say(text);
  byId("run").scrollIntoView({ block: "center" });
  byId("run").focus();
}
