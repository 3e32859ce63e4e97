// Settings that come back into the form: a prediction's, a picture's, a shared prediction's.

import { askJson, here } from "../page/api.js";
import { nameFor } from "../picture/picture.js";
import * as form from "./form.js";
import { chooseModel, modelFor } from "./models.js";
import { offerUndo } from "./reset.js";

/** @typedef {import("../gallery/predictions.js").Drawn} Drawn */
/** @typedef {import("../gallery/predictions.js").Prediction} Prediction */
/** @typedef {import("./schema.js").Value} Value */

/**
 * What a prediction was made with.
 * @typedef {object} MadeWith
 * @property {Record<string, Value>} input  as its client sent it.
 * @property {Record<string, any>} settings  by the names of the model's inputs.
 * @property {string} task
 */

/** Where settings wait while the page changes from a shared prediction to the form. */
const HANDED_ON = "settings";

/**
 * The settings that a prediction was made with, whatever the client called them, and its task.
 * @param {Prediction} prediction
 * @returns {Promise<MadeWith>}
 */
export const madeWith = ({ urls }) => askJson(here(urls.web));

/**
 * A prediction's settings in the form, with the seed of one of its pictures; whether all came.
 * @param {Prediction} prediction
 * @param {Drawn?} picture
 */
export async function reuse(prediction, picture = null) {
  return takeOver(await madeWith(prediction), picture);
}

/**
 * @param {MadeWith} made
 * @param {Drawn?} picture
 */
async function takeOver({ input, settings, task }, picture) {
  const [model, before] = [modelFor(task, settings.model), form.modelOf()];
  const isAnother = settings.model ? before?.id !== model?.id : before?.task !== task;
  if (model && isAnother) await chooseModel(model.id);
  // A seed that nobody chose would draw the same pictures once more.
  const alone =
    picture === null || picture.seed === null
      ? { seed: input.seed }
      : { seed: picture.seed, num_images: 1 };
  const undo = form.fill({ ...settings, ...alone });
  const shown = form.modelOf();
  const missing = [...(model ? [] : ["model"]), ...(await takeFiles(settings))];
  offerUndo("Its settings are in the form.", async () => {
    await undo();
    if (before && before.id !== shown?.id) await chooseModel(before.id);
  });
  const verb = missing.length > 1 ? "are" : "is";
  const names = missing.join(" and the ");
  form.lead(missing.length ? `The ${names} ${verb} no longer on the server.` : "");
  return missing.length === 0;
}

/**
 * Takes the pictures among settings into the form.
 * @param {Record<string, any>} settings
 * @returns {Promise<string[]>} the names of those that are no longer there.
 */
async function takeFiles(settings) {
  const missing = [];
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
  return missing;
}

/**
 * The settings that a picture carries, instead of the picture.
 * @param {import("../picture/picture.js").Picture} picture
 */
export const restore = async (picture) => (await import("./restoring.js")).restore(picture);

/**
 * Leaves settings for the page that has the form, and goes there.
 * @param {MadeWith & {picture: Drawn?}} made
 */
export function handOn(made) {
  sessionStorage.setItem(HANDED_ON, JSON.stringify(made));
  location.assign("/");
}

/** Takes settings that another page has left. */
export async function takeHandedOn() {
  const handedOn = sessionStorage.getItem(HANDED_ON);
  if (!handedOn) return;
  sessionStorage.removeItem(HANDED_ON);
  const { picture, ...made } = JSON.parse(handedOn);
  await takeOver(made, picture);
}
