// The pictures that the person likes best, kept in this browser.

const KEY = "favourites";

/** @typedef {{id: string}} Prediction */

/** The pictures' names, the one that was chosen last at the end: `predictionId/index`. */
function names() {
  try {
    return /** @type {string[]} */ ([JSON.parse(localStorage.getItem(KEY) ?? "[]")].flat());
  } catch {
    return [];
  }
}

/** @param {string[]} chosen */
function keep(chosen) {
  localStorage.setItem(KEY, JSON.stringify(chosen));
  dispatchEvent(new Event(KEY));
}

/**
 * @param {Prediction} prediction
 * @param {number} index
 */
export const isFavourite = ({ id }, index) => names().includes(`${id}/${index}`);

/**
 * Makes a picture a favourite, or one like any other.
 * @param {Prediction} prediction
 * @param {number} index
 */
export function toggleFavourite({ id }, index) {
  const name = `${id}/${index}`;
  const others = names().filter((one) => one !== name);
  keep(isFavourite({ id }, index) ? others : [...others, name]);
}

/** The predictions that have any, the one that was chosen last first. */
export const favoured = () => [...new Set(names().map((name) => name.split("/")[0]))].reverse();

/** Forgets those of a prediction that is gone. @param {string} id */
export function forgetFavourites(id) {
  const left = names().filter((name) => !name.startsWith(`${id}/`));
  if (left.length < names().length) keep(left);
}

/**
 * Calls a listener when they have changed, here or in another tab.
 * @param {() => void} listener
 */
export function onFavourites(listener) {
  addEventListener(KEY, listener);
  addEventListener("storage", ({ key }) => key === KEY && listener());
}
