// Which predictions are shown, in which order, and which of them large.

import { arrangeChildren } from "../page/dom.js";
import { favoured } from "./favourites.js";
import { isInVain, isOver } from "./predictions.js";

/** @typedef {import("./predictions.js").Prediction} Prediction */

/**
 * A prediction that the page has.
 * @typedef {object} Entry
 * @property {Prediction} prediction
 * @property {import("./card.js").Card?} card  null for one that is in a strip.
 * @property {boolean} isFresh  whether it came, or was still running, since the page is open.
 * @property {number} changed  the number of its last change.
 */
/**
 * Several predictions that are shown together.
 * @typedef {object} Strip
 * @property {HTMLElement} element
 * @property {string[]} ids
 * @property {(id: string, isGone: boolean) => void} gone  called when one is deleted, and when that
 *   is taken back.
 */
/**
 * What the person wants to see.
 * @typedef {object} View
 * @property {string} search  words that the prompt must have.
 * @property {boolean} isFavourites  whether only those with favourites.
 * @property {boolean} isLarge  whether all are large.
 * @property {boolean} hasEnded  whether those too that were stopped or have failed.
 */

/**
 * Whether a prompt has all the words.
 * @param {Prediction} prediction
 * @param {string} search
 */
function hasWords({ input }, search) {
  const prompt = String(input.prompt ?? "").toLowerCase();
  return search
    .toLowerCase()
    .split(/\s+/)
    .every((word) => prompt.includes(word));
}

/** One that is folded away, unless it is asked for. @param {Entry} entry */
export const isFolded = ({ prediction, isFresh }) => isInVain(prediction) && !isFresh;

/**
 * The newest first.
 * @template {{prediction: Prediction}} Some
 * @param {Some[]} entries
 */
export const sorted = (entries) =>
  entries.toSorted(
    ({ prediction: one }, { prediction: other }) =>
      other.created_at.localeCompare(one.created_at) || other.id.localeCompare(one.id),
  );

/**
 * Shows what the person wants to see.
 * @param {HTMLElement} list
 * @param {Entry[]} entries: the newest first.
 * @param {Strip[]} strips
 * @param {View} view
 * @param {string} oldest: when the oldest was made that the list has come to.
 * @returns {number} how many are shown.
 */
export function arrange(list, entries, strips, view, oldest) {
  const favourites = new Set(favoured());
  const isWhole = !view.search && !view.isFavourites;
  /** @param {Entry} entry */
  const isShown = (entry) => {
    const { prediction, isFresh } = entry;
    if (isFolded(entry) && !view.hasEnded) return false;
    if (view.isFavourites && !favourites.has(prediction.id)) return false;
    if (view.search && !hasWords(prediction, view.search)) return false;
    return !isWhole || isFresh || !isOver(prediction) || prediction.created_at >= oldest;
  };
  /** @type {Element[]} */
  const elements = [];
  const waiting = new Set(isWhole ? strips : []);
  let hasNewest = !isWhole;
  for (const entry of entries) {
    const { card, prediction } = entry;
    const strip = [...waiting].find(({ ids }) => ids.includes(prediction.id));
    if (strip) {
      elements.push(strip.element);
      waiting.delete(strip);
    }
    if (!card || !isShown(entry)) continue;
    const isNewest = !hasNewest && prediction.status === "succeeded";
    hasNewest ||= isNewest;
    const hasToBeRead = prediction.status === "failed" && entry.isFresh;
    const isLarge = view.isLarge || isNewest || hasToBeRead || !isOver(prediction);
    card.fit(isLarge);
    elements.push(card.element);
  }
  arrangeChildren(list, [...[...waiting].map(({ element }) => element), ...elements]);
  return elements.length;
}
