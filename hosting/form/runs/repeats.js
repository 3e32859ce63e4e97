// What this page has asked for with a seed that is known: the same would give the same once more.

/** @typedef {import("../gallery/predictions.js").Prediction} Prediction */
/** @typedef {import("../inputs/schema.js").Value} Value */
/** @typedef {Record<string, Value | undefined>} Inputs  files as data URLs or links. */

/** The ids of predictions, by what was asked for. */
const drawn = /** @type {Map<string, string>} */ (new Map());

/**
 * The id of the prediction that has drawn the same, or is about to; undefined where none has, and
 * where the seed is left to chance.
 * @param {string} model: its id.
 * @param {Inputs} inputs
 */
export const repeated = (model, inputs) =>
  inputs.seed == null ? undefined : drawn.get(keyOf(model, shortened(inputs)));

/**
 * Notes a prediction that was asked for, and in the end each of its pictures, by its own seed.
 * @param {string} model: its id.
 * @param {Inputs} inputs
 * @param {Prediction} prediction
 * @param {Promise<Prediction>} ended: when it is over.
 */
export async function note(model, inputs, { id }, ended) {
  const short = shortened(inputs);
  const key = keyOf(model, short);
  if (inputs.seed != null) drawn.set(key, id);
  const { status, metrics } = await ended;
  if (status !== "succeeded") {
    if (drawn.get(key) === id) drawn.delete(key);
    return;
  }
  for (const { index, seed, file } of metrics?.images ?? []) {
    if (!file) continue;
    if (index === 0) drawn.set(keyOf(model, { ...short, seed }), id);
    drawn.set(keyOf(model, { ...short, seed, num_images: 1 }), id);
  }
}

/**
 * @param {string} model
 * @param {Inputs} inputs: with hashes for files.
 */
function keyOf(model, inputs) {
  const entries = Object.entries({ num_images: 1, ...inputs }).filter(([, value]) => value != null);
  return JSON.stringify([model, ...entries.sort(([one], [other]) => (one < other ? -1 : 1))]);
}

/** @param {Inputs} inputs */
const shortened = (inputs) =>
  /** @type {Inputs} */ (
    Object.fromEntries(
      Object.entries(inputs).map(([name, value]) => [
        name,
        typeof value === "string" && value.startsWith("data:") ? hashOf(value) : value,
      ]),
    )
  );

/**
 * A short text that stands for a long one. (Browsers have SHA-256 for pages behind TLS alone.)
 * @param {string} text
 */
function hashOf(text) {
  let [one, other] = [0x811c9dc5, 0x01000193];
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    one = Math.imul(one ^ code, 0x01000193);
    other = Math.imul(other ^ code, 0x85ebca6b);
  }
  return `${text.length} ${one} ${other}`;
}
