// Where a picture comes from that was made here: the prediction that has made it.

import { askJson, here } from "./api.js";

/** Characters of a prompt by which a prediction is searched for. */
const LONGEST_SEARCH = 300;
/** Pages of predictions that are looked at. */
const MOST_PAGES = 4;

/** @typedef {import("./predictions.js").Prediction} Prediction */

/**
 * The prediction that a picture is of; null where there is none that is known.
 * @param {import("./making.js").Making} making
 * @returns {Promise<Prediction?>}
 */
export async function originOf(making) {
  const words = String(making.prompt).slice(0, LONGEST_SEARCH);
  let next = `/form/predictions?${new URLSearchParams({ search: words })}`;
  for (let page = 0; next && page < MOST_PAGES; page++) {
    /** @type {{results: Prediction[], next: string?}} */
    const found = await askJson(next).catch(() => ({ results: [], next: null }));
    const origin = found.results.find((one) => isOrigin(one, making));
    if (origin) return origin;
    next = found.next ? here(found.next) : "";
  }
  return null;
}

/**
 * Whether a prediction has made a picture that carries settings.
 * @param {Prediction} prediction
 * @param {import("./making.js").Making} making
 */
function isOrigin({ input, metrics }, making) {
  if (input.prompt !== making.prompt) return false;
  if (!metrics?.images?.some(({ seed, file }) => file && seed === making.seed)) return false;
  // A seed is another for each of several pictures, and LoRAs are called by more than was asked for.
  return Object.entries(input).every(
    ([name, value]) =>
      !(name in making) || ["seed", "loras"].includes(name) || making[name] === value,
  );
}
