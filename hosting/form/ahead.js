// What the page asks for while the rest of it is on its way.

import { askJson } from "./page/api.js";

export const MODELS = "/form/models";
/** Whether this is the page of a shared prediction. */
export const isShared = /^\/[ps]\//.test(location.pathname);

/** @typedef {import("./inputs/form.js").Model} Model */

const asked = /** @type {Map<string, Promise<any>>} */ (new Map());

/** Where the schema of a model is. @param {Model} model */
export const schemaPath = ({ id }) => `/openapi.json?model=${encodeURIComponent(id)}`;

/**
 * The model that was chosen last, or the first.
 * @param {Model[]} models
 */
export const preferred = (models) =>
  models.find(({ id }) => id === localStorage.getItem("model")) ?? models[0];

/**
 * Asks for a document, where that was not done already.
 * @param {string} path
 */
export function askOnce(path) {
  const answer = asked.get(path) ?? askJson(path);
  asked.delete(path);
  return answer;
}

/** @param {string} path */
function askAhead(path) {
  const answer = askJson(path);
  answer.catch(() => {}); // said by who takes it
  asked.set(path, answer);
  return answer;
}

async function begin() {
  const model = preferred(await askAhead(MODELS));
  if (model) askAhead(schemaPath(model));
}

if (!isShared) begin().catch(() => {});
