// The form of the chosen model: its fields, what is in them, and what of it is sent.

import { askJson } from "./api.js";
import { byId, say } from "./dom.js";
import { makeField } from "./fields.js";
import { draft, files as keptFiles, keepDraft, keepFile } from "./kept.js";
import { readPicture } from "./picture.js";
import { makePictureField } from "./picture-field.js";
import { inputsOf, sizeOf } from "./schema.js";

/** What is of no use without an image. */
const ON_IMAGES = ["mask", "strength"];

let model = null;
let inputs = [];
let fields = {};
/** The pictures that were chosen, by the names of the inputs: for models that have those too. */
const pictures = new Map();
let changes = 0;
let onChange = () => {};
let pictureActions = {};

/**
 * Begins with what the browser has kept of the form.
 * @param {object} listeners
 * @param {() => void} listeners.changed: something in the form is another.
 * @param {() => Element} listeners.examples, listeners.restore: as of `makePictureField`.
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

/** Draws the form of a model. What two models have in common stays. */
export async function draw(chosen) {
  model = chosen;
  const path = `/openapi.json?model=${encodeURIComponent(chosen.id)}`;
  const document = await askJson(path);
  if (model !== chosen) return; // another was chosen meanwhile
  inputs = inputsOf(document);
  fields = {};
  for (const input of inputs)
    fields[input.name] = input.isFile ? pictureField(input) : makeField(input, changed);
  const elements = (isFirst) =>
    inputs.filter((input) => input.isFirst === isFirst).map(({ name }) => fields[name].element);
  byId("first").replaceChildren(...elements(true));
  byId("rest").replaceChildren(...elements(false));
  const values = draft();
  for (const { name, isFile } of inputs) {
    if (!isFile && name in values) fields[name].set(values[name]);
    if (isFile && pictures.has(name)) fields[name].set(pictures.get(name));
  }
  changed();
}

/** The model that the form is for; null before there is one. */
export const modelOf = () => (inputs.length ? model : null);

/** The field of an input; undefined where the model has none of the name. */
export const field = (name) => fields[name];

/** The inputs of the model. */
export const all = () => inputs;

/** How often the form was changed: whether it still holds what it held. */
export const version = () => changes;

function pictureField(input) {
  const chosen = () => {
    const picture = tryGet(input.name);
    if (picture !== (pictures.get(input.name) ?? null)) keepFile(input.name, picture);
    if (picture) pictures.set(input.name, picture);
    else pictures.delete(input.name);
    if (input.name === "image") fields.mask?.show(); // it lies on the picture
    changed();
  };
  if (input.name !== "mask") {
    const { restore, examples } = pictureActions;
    return makePictureField(input, chosen, { restore, examples: examples() });
  }
  return makePictureField(input, chosen, {
    under: () => tryGet("image"),
    async paint(mask) {
      const image = tryGet("image");
      if (!image?.width) throw new Error("Choose an image first: the mask is painted on it.");
      // Few people paint: the others don't wait for it.
      const { paintMask } = await import("./mask-editor.js");
      return paintMask(image, mask);
    },
  });
}

function tryGet(name) {
  try {
    return fields[name]?.get() ?? null;
  } catch {
    return null;
  }
}

/** Something in the form is another. */
function changed() {
  changes++;
  const { plain } = contents(tryGet);
  const values = draft();
  for (const { name, isFile } of inputs) {
    if (isFile) continue;
    if (name in plain) values[name] = plain[name];
    else delete values[name];
  }
  keepDraft(values);
  const image = tryGet("image");
  if (image?.width) fields.image.crop(resultSize(image));
  const isOptional = inputs.some(({ name, isRequired }) => name === "image" && !isRequired);
  for (const name of ON_IMAGES)
    if (fields[name]) fields[name].element.hidden = isOptional && !image && !tryGet("mask");
  onChange();
}

function resultSize(image) {
  const sides = inputs.find(({ name }) => name === "width")?.choices;
  return sides && sizeOf(tryGet("width"), tryGet("height"), image, sides, model.native_size);
}

/**
 * Puts values into the form; what they lack gets the model's own choice, and files are taken out.
 * @param {object} values: by the names of the inputs.
 */
export function fill(values) {
  for (const { name, isFile } of inputs) fields[name].set(isFile ? null : values[name]);
  changed();
}

/** Puts values into the form, and leaves the rest as it is. */
export function add(values) {
  for (const [name, value] of Object.entries(values)) fields[name]?.set(value);
  changed();
}

/** What the form holds that is not the model's own choice. `read` gets a field's value. */
function contents(read) {
  const [plain, files] = [{}, {}];
  for (const { name, isFile, isRequired, fallback } of inputs) {
    const value = read(name);
    if (isFile && value) files[name] = value;
    else if (!isFile && value !== null && (isRequired || value !== fallback)) plain[name] = value;
  }
  return { plain, files };
}

/** What the form holds, as far as it can be read: `{plain, files}`, by the names of the inputs. */
export const look = () => contents(tryGet);

/**
 * What the form holds, as it is sent; null where something is wrong, which its field then says.
 * @returns {Promise<{plain, files}?>}
 */
export async function collect() {
  for (const { name, isFile } of inputs) if (isFile) await fields[name].ready();
  const faults = {};
  const collected = contents((name) => {
    try {
      const value = fields[name].get();
      fields[name].say("");
      return value;
    } catch (error) {
      faults[name] = error.message;
      return null;
    }
  });
  if (collected.files.mask && !collected.files.image && fields.image)
    faults.image ??= "A mask needs an image to be laid on.";
  return blame(faults) ? null : collected;
}

/**
 * Says at the fields what is wrong with them, and leads to the first.
 * @param {object} faults: sentences by the names of the inputs.
 * @returns {boolean} whether any field has a fault.
 */
export function blame(faults) {
  const known = inputs.map(({ name }) => name).filter((name) => faults[name]);
  for (const name of known) fields[name].say(faults[name]);
  if (!known.length) return false;
  chooseTab("inputs");
  if (byId("rest").contains(fields[known[0]].element)) byId("advanced").open = true;
  fields[known[0]].focus();
  return true;
}

/** Shows the form or its code. */
export function chooseTab(name) {
  for (const one of ["inputs", "code"]) {
    const tab = byId(`tab-${one}`);
    tab.setAttribute("aria-selected", one === name);
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
