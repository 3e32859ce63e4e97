// The fields of the form, and what they hold.

import { isForeign } from "../mask/mask.js";
import { chooseTab } from "../page/tabs.js";
import { keepPrompt } from "./earlier.js";

/** @typedef {import("./fields.js").Field} Field */
/** @typedef {import("../picture/picture.js").Picture} Picture */
/** @typedef {import("../picture/field.js").PictureField} PictureField */
/** @typedef {import("./schema.js").Input} Input */
/** @typedef {import("./schema.js").Value} Value */

/**
 * What the form holds, by the names of the inputs.
 * @typedef {object} Contents
 * @property {Record<string, Value>} plain
 * @property {Record<string, Picture>} files
 */

/** @type {Input[]} */
export let inputs = [];
/**
 * The fields of inputs that are no pictures.
 * @type {Record<string, Field>}
 */
export let plainFields = {};
/** @type {Record<string, PictureField>} */
export let pictureFields = {};

/**
 * Takes the fields of another model.
 * @param {Input[]} all
 * @param {(input: Input) => Field} makePlain
 * @param {(input: Input) => PictureField} makePicture
 */
export function makeFields(all, makePlain, makePicture) {
  inputs = all;
  plainFields = {};
  pictureFields = {};
  for (const input of all)
    if (input.isFile) pictureFields[input.name] = makePicture(input);
    else plainFields[input.name] = makePlain(input);
}

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
export const anyField = (name) => plainFields[name] ?? pictureFields[name];

/** @param {string} name: of an input that the model has. */
const isHidden = (name) => anyField(name).element.hasAttribute("hidden");

/**
 * @template Held
 * @param {{get: () => Held} | undefined} field
 * @returns {Held | null} null too where what it holds is wrong.
 */
export function tryGet(field) {
  try {
    return field?.get() ?? null;
  } catch {
    return null;
  }
}

/** @param {string} name */
export const pictureIn = (name) => tryGet(pictureFields[name]);

/** @param {string} name: of an input. */
export const inputValue = (name) => tryGet(plainFields[name]) ?? pictureIn(name);

/**
 * Of the values that are kept, those that this model has no input for.
 * @param {Record<string, Value>} values
 */
export const othersOf = (values) =>
  Object.fromEntries(Object.entries(values).filter(([name]) => !(name in plainFields)));

/** What the browser keeps of the fields that are no pictures: of hidden ones too. */
export function held() {
  /** @type {Record<string, Value>} */
  const values = {};
  for (const { name, isFile, isRequired, fallback } of inputs) {
    if (isFile) continue;
    const value = plainFields[name].kept?.() ?? tryGet(plainFields[name]);
    if (value != null && (isRequired || value !== fallback)) values[name] = value;
  }
  return values;
}

/** @param {Record<string, Value>} values: of which the form takes those that it has fields for. */
export function takeIn(values) {
  for (const [name, field] of Object.entries(plainFields))
    if (name in values) field.set(values[name]);
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
  if (collected.files.mask && isForeign(collected.files.image ?? null))
    faults.mask ??= "It was made for another picture: keep it, or remove it.";
  if (blame(faults)) return null;
  if (collected.plain.prompt) keepPrompt(String(collected.plain.prompt));
  return collected;
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
