// The form of the chosen model: its fields, what is in them, and what of it is sent.

import { askJson } from "./api.js";
import { isSized } from "./chosen.js";
import { acting, byId, h, say } from "./dom.js";
import { makeField } from "./fields.js";
import { EXTENSIONS, frameOf } from "./frame.js";
import { draft, keepDraft, keepFile, files as keptFiles } from "./kept.js";
import { makeLoraField } from "./loras.js";
import { readPicture } from "./picture.js";
import { makePictureField } from "./picture-field.js";
import { grouped, inputsOf } from "./schema.js";
import { vocabularyList } from "./vocabulary.js";
import { wordList, write } from "./words.js";

/** What is of no use without an image. */
const ON_IMAGES = ["mask", "strength", ...EXTENSIONS, "keep_size", "resize_mode", "crop"];
/** What is of no use without a mask. */
const ON_MASKS = [
  "mask_source",
  "invert_mask",
  "mask_blur",
  "mask_grow",
  "only_masked",
  "only_masked_padding",
];
/**
 * What is of no use while another input, whose name it has here, holds the model's own choice.
 * @type {Record<string, string[]>}
 */
const ON_OTHERS = {
  only_masked: ["only_masked_padding"],
  refine_scale: ["refine_strength", "refine_steps", "upscaler"],
};

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
 * @property {string[]} upscalers
 * @property {Vocabulary?} vocabulary
 * @property {import("./loras.js").Lora[]} loras
 * @property {import("./words.js").Embedding[]} embeddings
 */
/** @typedef {import("./vocabulary.js").Vocabulary} Vocabulary */
/** @typedef {import("./fields.js").Field} Field */
/** @typedef {import("./picture.js").Picture} Picture */
/** @typedef {import("./picture-field.js").PictureField} PictureField */
/** @typedef {import("./schema.js").Input} Input */
/** @typedef {import("./schema.js").Value} Value */

/**
 * What the form holds, by the names of the inputs.
 * @typedef {object} Contents
 * @property {Record<string, Value>} plain
 * @property {Record<string, Picture>} files
 */

/** @type {Model?} */
let model = null;
/** @type {Input[]} */
let inputs = [];
/**
 * The fields of inputs that are no pictures.
 * @type {Record<string, Field>}
 */
let plainFields = {};
/** @type {import("./loras.js").LoraField | undefined} */
let loraField;
/** @type {Record<string, PictureField>} */
let pictureFields = {};
/** The pictures that were chosen, by the names of the inputs: for models that have those too. */
const pictures = /** @type {Map<string, Picture>} */ (new Map());
/** The image that the mask was made for; null if nobody knows. */
let ground = /** @type {Picture?} */ (null);
let changes = 0;
let onChange = () => {};
/** @type {{examples: () => HTMLElement, restore: (picture: Picture) => unknown}} */
let pictureActions;

/**
 * Begins with what the browser has kept of the form.
 * @param {object} listeners
 * @param {() => void} listeners.changed: something in the form is another.
 * @param {() => HTMLElement} listeners.examples: as of `makePictureField`.
 * @param {(picture: Picture) => unknown} listeners.restore: likewise.
 */
export async function begin({ changed, ...rest }) {
  onChange = changed;
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
  inputs = inputsOf(document, upscalersOf(chosen));
  plainFields = {};
  pictureFields = {};
  loraField = undefined;
  for (const input of inputs)
    if (input.isFile) pictureFields[input.name] = makePicture(input);
    else if (input.name === "loras") loraField = plainFields.loras = makeLoras(input);
    else plainFields[input.name] = makeField(input, changed);
  /** @param {Input[]} some */
  const elements = (some) => some.map(({ name }) => anyField(name).element);
  byId("first").replaceChildren(...elements(inputs.filter(({ isFirst }) => isFirst)));
  byId("rest").replaceChildren(
    ...grouped(inputs.filter(({ isFirst }) => !isFirst)).flatMap(([title, some]) =>
      title
        ? [h("details", { class: "group" }, h("summary", {}, title), ...elements(some))]
        : elements(some),
    ),
  );
  showVocabulary();
  showAdapters();
  const values = draft();
  for (const [name, field] of Object.entries(plainFields))
    if (name in values) field.set(values[name]);
  for (const [name, field] of Object.entries(pictureFields)) {
    const picture = pictures.get(name);
    if (picture) field.set(picture);
  }
  changed();
}

/**
 * Takes what is known now of the model that the form is for.
 * @param {Model} newer
 */
export async function renew(newer) {
  const before = upscalersOf(model);
  model = newer;
  if (String(upscalersOf(newer)) !== String(before)) return draw(newer);
  showVocabulary();
  showAdapters();
  changed();
}

/** @param {Model?} of */
const upscalersOf = (of) => of?.description?.upscalers ?? [];

/** Says below the prompt what can be drawn, where that is not everything. */
function showVocabulary() {
  const { element } = plainFields.prompt;
  const shown = element.querySelector(".vocabulary");
  const vocabulary = model?.description?.vocabulary;
  if (!vocabulary) shown?.remove();
  else if (!shown) element.append(vocabularyList(vocabulary));
}

/** Offers the LoRAs of the model, and below each prompt its words. */
function showAdapters() {
  loraField?.offer(model?.description?.loras ?? null);
  for (const name of ["prompt", "negative_prompt"]) {
    const area = textOf(name);
    if (!area) continue;
    const list = wordList(model?.description?.embeddings ?? [], area);
    const shown = area.parentElement?.querySelector(".words");
    if (shown?.textContent === list?.textContent) continue; // the focus may be in it
    shown?.remove();
    if (list) area.after(list);
  }
}

/** @param {Input} input */
const makeLoras = (input) =>
  makeLoraField(input, changed, (trigger) => {
    const prompt = textOf("prompt");
    if (prompt) write(prompt, trigger);
  });

/**
 * @param {string} name: of an input.
 * @returns {HTMLTextAreaElement | null | undefined}
 */
const textOf = (name) => plainFields[name]?.element.querySelector("textarea");

/** The model that the form is for; null before there is one. */
export const modelOf = () => (inputs.length ? model : null);

/**
 * The field of an input; undefined where the model has none of the name.
 * @param {string} name
 * @returns {Field | PictureField | undefined}
 */
export const field = (name) => plainFields[name] ?? pictureFields[name];

/**
 * The same, where the input is a picture.
 * @param {string} name
 * @returns {PictureField | undefined}
 */
export const pictureField = (name) => pictureFields[name];

/** @param {string} name: of an input that the model has. */
const anyField = (name) => plainFields[name] ?? pictureFields[name];

/** @param {string} name: of an input that the model has. */
const isHidden = (name) => anyField(name).element.hasAttribute("hidden");

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
    if (input.name === "mask" && isOther) ground = pictureIn("image");
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
  const blur = tryGet(plainFields.mask_blur);
  // Few people paint: the others don't wait for it.
  const editor = await import("./mask-editor.js");
  const painted = await editor.paintMask(image, isForeign() ? null : before, {
    box: frame(image)?.box,
    blur: plainFields.mask_blur ? Number(blur) : null,
  });
  if (painted?.blur != null) plainFields.mask_blur.set(painted.blur);
  return painted?.mask ?? null;
}

/** Whether the mask was made for another image than the one there is. */
function isForeign() {
  const image = pictureIn("image");
  if (!image || !ground || !pictureIn("mask")) return false;
  const { name, blob } = ground;
  return name !== image.name || blob.size !== image.blob.size;
}

/**
 * @template Held
 * @param {{get: () => Held} | undefined} field
 * @returns {Held | null} null too where what it holds is wrong.
 */
function tryGet(field) {
  try {
    return field?.get() ?? null;
  } catch {
    return null;
  }
}

/** @param {string} name */
const pictureIn = (name) => tryGet(pictureFields[name]);

/** Something in the form is another. */
function changed() {
  changes++;
  showWhatIsOfUse();
  const { plain } = contents(tryGet);
  const values = draft();
  for (const [name, field] of Object.entries(plainFields)) {
    const kept = field.kept?.() ?? plain[name];
    if (kept == null) delete values[name];
    else values[name] = kept;
  }
  keepDraft(values);
  showPictures();
  onChange();
}

/** Shows what of the image is used, and what is to be said of the mask on it. */
function showPictures() {
  const image = pictureIn("image");
  const shown = image && isSized(image) ? frame(image) : null;
  if (image) pictureFields.image.crop(shown);
  if (pictureIn("mask") && image) noteOnMask();
}

/** Says at the mask what is to be known of it. */
const noteOnMask = acting(async () => {
  const { showNotes } = await import("./mask-notes.js");
  const [mask, image] = [pictureIn("mask"), pictureIn("image")];
  if (!mask || !image) return;
  await showNotes({
    field: pictureFields.mask,
    mask,
    frame: isSized(image) ? frame(image) : null,
    image,
    isForeign: isForeign(),
    get: (name) => tryGet(plainFields[name]),
    strength: inputs.find(({ name }) => name === "strength")?.fallback ?? null,
    keep() {
      ground = image;
      changed();
    },
    add,
    moveTo: pictureFields.image.moveTo,
  });
});

/** Hides what is of no use with what the form holds. */
function showWhatIsOfUse() {
  const image = pictureIn("image");
  const isOptional = inputs.some(({ name, isRequired }) => name === "image" && !isRequired);
  const mask = pictureIn("mask");
  /**
   * @param {string[]} names
   * @param {boolean} isHidden
   */
  const hide = (names, isHidden) => {
    for (const name of names) field(name)?.element.toggleAttribute("hidden", isHidden);
  };
  hide(ON_IMAGES, isOptional && !image && !mask);
  hide(ON_MASKS, !mask);
  for (const { name, fallback } of inputs) {
    const value = tryGet(plainFields[name]) ?? fallback;
    hide(ON_OTHERS[name] ?? [], value === fallback || isHidden(name));
  }
}

/** @param {import("./picture.js").SizedPicture} image */
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
 * Puts values into the form, and leaves the rest as it is.
 * @param {Record<string, Value>} values: by the names of inputs that are no pictures.
 */
export function add(values) {
  for (const [name, value] of Object.entries(values)) plainFields[name]?.set(value);
  changed();
}

/**
 * What the form holds that is not the model's own choice.
 * @param {<Held>(field: {get: () => Held}, name: string) => Held | null} read: gets a field's value.
 * @returns {Contents}
 */
function contents(read) {
  /** @type {Contents} */
  const { plain, files } = { plain: {}, files: {} };
  for (const { name, isFile, isRequired, fallback } of inputs)
    if (isHidden(name)) continue;
    else if (isFile) {
      const picture = read(pictureFields[name], name);
      if (picture) files[name] = picture;
    } else {
      const value = read(plainFields[name], name);
      if (value !== null && (isRequired || value !== fallback)) plain[name] = value;
    }
  return { plain, files };
}

/** What the form holds, as far as it can be read. */
export const look = () => contents(tryGet);

/**
 * What the form holds, as it is sent; null where something is wrong, which its field then says.
 * @returns {Promise<Contents?>}
 */
export async function collect() {
  for (const field of Object.values(pictureFields)) await field.ready();
  /** @type {Record<string, string>} */
  const faults = {};
  const collected = contents((field, name) => {
    try {
      const value = field.get();
      anyField(name).say("");
      return value;
    } catch (error) {
      faults[name] = error.message;
      return null;
    }
  });
  if (collected.files.mask && !collected.files.image && pictureFields.image)
    faults.image ??= "A mask needs an image to be laid on.";
  if (collected.files.mask && isForeign())
    faults.mask ??= "It was made for another picture: keep it, or remove it.";
  return blame(faults) ? null : collected;
}

/**
 * Says at the fields what is wrong with them, and leads to the first.
 * @param {Record<string, string>} faults: sentences by the names of the inputs.
 * @returns {boolean} whether any field has a fault.
 */
export function blame(faults) {
  const known = inputs.map(({ name }) => name).filter((name) => faults[name]);
  for (const name of known) anyField(name).say(faults[name]);
  if (!known.length) return false;
  chooseTab("inputs");
  unfold(known[0]);
  anyField(known[0]).focus();
  return true;
}

/**
 * Shows the field of an input, whatever it is folded into.
 * @param {string} name: of an input that the model has.
 */
export function unfold(name) {
  for (const one of document.querySelectorAll("details"))
    if (one.contains(anyField(name).element)) one.open = true;
}

/**
 * Shows the form or its code.
 * @param {string} name: `inputs` or `code`.
 */
export function chooseTab(name) {
  for (const one of ["inputs", "code"]) {
    const tab = byId(`tab-${one}`);
    tab.setAttribute("aria-selected", String(one === name));
    tab.tabIndex = one === name ? 0 : -1;
    byId(one).hidden = one !== name;
  }
  onChange();
}

/** Leads the person to the button that runs what is in the form now. */
export function lead(text = "") {
  chooseTab("inputs");
  say(text);
  byId("run").scrollIntoView({ block: "center" });
  byId("run").focus();
}
