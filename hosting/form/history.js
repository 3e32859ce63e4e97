// The list of one's own predictions, the newest first, each followed to its end.

import { askJson, here } from "./api.js";
import { byId, say } from "./dom.js";
import { follow, isOver, makeCard, stop } from "./predictions.js";

/** Cards that are shown at once. */
const AT_ONCE = 12;
/** Milliseconds after which the links in a card are made anew: long before they expire. */
const STALE = 30 * 60 * 1000;

/** @typedef {import("./predictions.js").Prediction} Prediction */
/** @typedef {import("./predictions.js").Actions} Actions */

const cards = /** @type {Map<string, import("./predictions.js").Card>} */ (new Map());
const shown = /** @type {Map<string, Prediction>} */ (new Map());
/** @type {string?} */
let older = "/v1/predictions";
/** @type {Prediction[]} */
let unseen = [];
let refreshed = Date.now();

/**
 * Shows a prediction, and follows it.
 * @param {Prediction} prediction
 * @param {Actions} actions: of its card, but for `stop`.
 * @param {boolean} isNew: whether it was asked for just now.
 * @returns {Promise<Prediction>} the prediction when it is over.
 */
export async function add(prediction, actions, isNew = false) {
  if (cards.has(prediction.id)) return prediction;
  const card = makeCard(prediction, {
    ...actions,
    stop: async (one) => card.update(await stop(one)),
  });
  cards.set(prediction.id, card);
  shown.set(prediction.id, prediction);
  byId("welcome").hidden = true;
  if (isNew) byId("predictions").prepend(card.element);
  else byId("predictions").append(card.element);
  // Where the form and the pictures are not side by side, the new card is out of sight.
  if (isNew && matchMedia("(width < 60rem)").matches) byId("results").scrollIntoView();
  try {
    return await follow(prediction, pathOf, (now) => {
      shown.set(now.id, now);
      card.update(now);
    });
  } catch (error) {
    card.say(error.message);
    return prediction;
  }
}

/** The predictions that are shown, the newest first. */
export const all = () =>
  [...shown.values()].sort((one, other) => (one.created_at < other.created_at ? 1 : -1));

/** @param {Prediction} prediction */
const pathOf = ({ urls }) => here(urls.get);

/**
 * Shows the next ones of those that were asked for before.
 * @param {Actions} actions: as of `add`.
 */
export async function showMore(actions) {
  byId("more").hidden = false; // should it fail, it can be tried again
  if (!unseen.length && older) {
    const page = await askJson(older);
    unseen = page.results;
    older = page.next && here(page.next);
  }
  for (const prediction of unseen.splice(0, AT_ONCE)) add(prediction, actions);
  byId("more").hidden = !unseen.length && !older;
  byId("welcome").hidden = cards.size > 0;
}

/** Makes the links anew of a page that was out of sight for long. */
export async function refresh() {
  if (document.hidden || Date.now() - refreshed < STALE) return;
  refreshed = Date.now();
  for (const [id, card] of cards)
    try {
      const prediction = await askJson(`/v1/predictions/${id}`);
      if (isOver(prediction)) card.update(prediction);
    } catch (error) {
      say(error.message);
    }
}
