// One's own predictions, the newest first: what the page has of them, and what comes and goes.

import { askJson, here } from "../page/api.js";
import { tellEnd, tellProgress } from "../page/attention.js";
import { acting, announce, byId, inTurn } from "../page/dom.js";
import { pass, watch } from "../page/stream.js";
import { arrange, isFolded, sorted } from "./arrangement.js";
import { makeCard } from "./card.js";
import { deleteSoon } from "./deletions.js";
import { favoured, forgetFavourites, onFavourites } from "./favourites.js";
import { endOf } from "./prediction-words.js";
import { isOver } from "./predictions.js";

/** Milliseconds after which the links in the cards are made anew: long before they expire. */
const STALE = 30 * 60 * 1000;
/** Milliseconds between two looks at how old the predictions are. */
const AGE = 20 * 1000;
/** Pages that are loaded in one go where all that they have is folded away. */
const PAGES = 4;
const LIST = "/form/predictions";
/** In the browser's store, whether the person wants all of them large. */
const LARGE = "large";
/** What no date comes after: the list has not come to any prediction yet. */
const BEFORE_ALL = "~";

/** @typedef {import("./arrangement.js").Entry} Entry */
/** @typedef {import("./arrangement.js").Strip} Strip */
/** @typedef {import("./arrangement.js").View} View */
/** @typedef {import("./predictions.js").Actions} Actions */
/** @typedef {import("./predictions.js").Place} Place */
/** @typedef {import("./predictions.js").Prediction} Prediction */

/**
 * How many predictions there are.
 * @typedef {object} Counts
 * @property {number} all
 * @property {number} shown
 * @property {number} folded  that were stopped or have failed earlier.
 */

const entries = /** @type {Map<string, Entry>} */ (new Map());
/** Ids of those that are deleted, or will be unless that is taken back. */
const gone = /** @type {Set<string>} */ (new Set());
/** @type {Strip[]} */
const strips = [];
/** @type {Actions} */
let actions;
/** @type {View} */
let view = {
  search: "",
  isFavourites: false,
  isLarge: localStorage.getItem(LARGE) === "yes",
  hasEnded: false,
};
/** Where the next page is, and how far the list has come. */
const whole = { next: /** @type {string?} */ (LIST), oldest: BEFORE_ALL };
/** The same of what is searched for. */
let found = { next: /** @type {string?} */ (null) };
let changes = 0;
let refreshed = Date.now();
/** Whether the list was asked for, and whether something may have changed before its answer came. */
let isAsked = false;
let isMissed = false;
/** @type {(counts: Counts) => void} */
let onArranged = () => {};

/**
 * Begins to show predictions as they come.
 * @param {Actions} what: can be done with them.
 * @param {(counts: Counts) => void} arranged: called whenever something came or went.
 */
export function begin(what, arranged) {
  actions = what;
  onArranged = arranged;
  onFavourites(() => {
    for (const { card } of entries.values()) card?.mark();
    draw();
  });
  setInterval(() => {
    if (document.hidden) return;
    for (const { card } of entries.values()) card?.age();
    renew();
  }, AGE);
  document.addEventListener("visibilitychange", renew);
}

/** Shows the newest of those that were there before. */
export async function showFirst() {
  isAsked = true;
  await showMore();
  if (isMissed) await refresh();
}

/** Makes the links anew before they expire. */
function renew() {
  if (!document.hidden && Date.now() - refreshed > STALE) acting(() => refresh(true))();
}

/**
 * Shows a prediction; its card follows it by itself.
 * @param {Prediction} prediction
 * @param {{isNew?: boolean}} [how]: whether it was asked for here, just now.
 */
export function add(prediction, { isNew = true } = {}) {
  if (!entries.has(prediction.id)) put(prediction, true);
  draw();
  const entry = entries.get(prediction.id);
  if (!isNew || !entry) return;
  if (entry.card && !entry.card.element.isConnected) showAll();
  entry.card?.element.scrollIntoView({ block: "nearest" });
  if (isOver(entry.prediction)) announce(endOf(entry.prediction)); // it was faster than the answer
}

/**
 * A prediction when it is over.
 * @param {string} id
 * @returns {Promise<Prediction>}
 */
export function ended(id) {
  const known = entries.get(id)?.prediction;
  if (known && isOver(known)) return Promise.resolve(known);
  return new Promise((done) => {
    const end = watch(id, (now) => {
      if (!isOver(now)) return;
      end();
      done(now);
    });
  });
}

/**
 * Shows several predictions together, where the newest of them belongs. They have no cards. It is
 * called again when a strip has got more of them.
 * @param {Strip} strip
 */
export function addStrip(strip) {
  if (!strips.includes(strip)) strips.push(strip);
  for (const id of strip.ids) {
    const entry = entries.get(id);
    entry?.card?.element.remove();
    if (entry) entry.card = null;
  }
  draw();
}

/**
 * Shows each prediction of a strip by a card of its own.
 * @param {Strip} strip
 */
export function removeStrip(strip) {
  strips.splice(strips.indexOf(strip), 1);
  for (const id of strip.ids) {
    const entry = entries.get(id);
    if (entry) entry.card ??= makeCard(entry.prediction, actions);
  }
  draw();
}

/** Leads to a prediction. @param {string} id */
export function reveal(id) {
  if (!entries.get(id)?.card?.element.isConnected) showAll();
  const strip = strips.find(({ ids }) => ids.includes(id));
  const element = strip?.element ?? entries.get(id)?.card?.element;
  if (!element) return;
  const box = element.querySelector(".tile") ?? element;
  box.scrollIntoView({ block: "center" });
  element.classList.remove("flash");
  requestAnimationFrame(() => element.classList.add("flash"));
}

/** Shows those that a search or a choice leaves out, too. */
const showAll = () => acting(() => show({ search: "", isFavourites: false }))();

/** What the person wishes to see now. */
export const shown = () => view;

/** Those that the page has, the newest first. */
export const all = () => sorted([...entries.values()]).map(({ prediction }) => prediction);

/**
 * Deletes a prediction, which can be taken back for a while.
 * @param {Prediction} prediction
 */
export function remove({ id }) {
  const entry = entries.get(id);
  if (!entry) return;
  const { element } = entry.card ?? {};
  const next = element?.nextElementSibling ?? element?.previousElementSibling;
  const hadFocus = element?.contains(document.activeElement);
  gone.add(id);
  entries.delete(id);
  tellStrip(id, true);
  draw();
  const focus = next?.querySelector("button") ?? byId("results");
  if (hadFocus || document.activeElement === document.body) focus.focus({ preventScroll: true });
  deleteSoon(entry.prediction, () => {
    gone.delete(id);
    entries.set(id, entry);
    tellStrip(id, false);
    draw();
  });
}

/**
 * @param {string} id
 * @param {boolean} isGone
 */
const tellStrip = (id, isGone) => strips.find(({ ids }) => ids.includes(id))?.gone(id, isGone);

/** Takes a newer state of a prediction, or a new one. @param {Prediction} prediction */
export function take(prediction) {
  if (gone.has(prediction.id)) return;
  const entry = entries.get(prediction.id);
  if (!entry && isOver(prediction) && isBeyond(prediction)) return;
  if (!entry) put(prediction, true);
  else {
    const before = entry.prediction;
    if (isOver(before) && !isOver(prediction)) return; // an answer that was overtaken
    entry.prediction = { ...before, ...prediction };
    entry.changed = ++changes;
    entry.card?.update(entry.prediction);
    if (before.status === prediction.status) {
      tellProgress(all());
      return;
    }
  }
  if (isOver(prediction)) {
    announce(endOf(prediction));
    tellEnd(prediction, () => reveal(prediction.id));
  }
  draw();
}

/**
 * Takes the place in the queue of a prediction that waits.
 * @param {string} id
 * @param {Place} queue
 */
export function place(id, queue) {
  const entry = entries.get(id);
  if (entry?.prediction.status !== "starting") return;
  entry.prediction = { ...entry.prediction, queue };
  entry.card?.update(entry.prediction);
}

/** Whether the list will come to it later: it is no news. @param {Prediction} prediction */
const isBeyond = ({ created_at: created }) => whole.oldest !== BEFORE_ALL && created < whole.oldest;

/** Forgets a prediction that was deleted. @param {string} id */
export function drop(id) {
  gone.add(id);
  forgetFavourites(id);
  tellStrip(id, true);
  if (entries.delete(id)) draw();
}

/**
 * Shows how an image looks so far.
 * @param {string} id
 * @param {number} index
 * @param {string} url
 */
export const preview = (id, index, url) => entries.get(id)?.card?.preview(index, url);

/** Shows the next page of what is looked at; who asks meanwhile wants the one after it. */
export const showMore = inTurn(async () => {
  byId("more").hidden = false; // should it fail, it can be tried again
  const list = view.search ? found : whole;
  const shown = draw();
  for (let page = 0; page < PAGES && list.next; page++) {
    const before = changes;
    const { results, next } = await askJson(list.next);
    list.next = next && here(next);
    learn(results, before);
    if (list === whole) whole.oldest = (next && results.at(-1)?.created_at) || "";
    if (draw() > shown) break;
  }
  draw();
});

/**
 * Looks what has changed while nobody listened.
 * @param {boolean} isAll: whether all is asked for anew, not only what is new.
 */
export async function refresh(isAll = false) {
  if (whole.oldest === BEFORE_ALL) {
    isMissed = isAsked; // what is still to be asked for misses nothing
    return;
  }
  refreshed = Date.now();
  const known = new Set(entries.keys());
  const unsure = new Set(known);
  let reached = BEFORE_ALL;
  /** @type {string?} */
  let path = LIST;
  for (let seen = 0; path; ) {
    const before = changes;
    const { results, next } = await askJson(path);
    learn(results, before);
    for (const { id } of results) unsure.delete(id);
    seen += results.length;
    const last = results.at(-1);
    reached = (next && last?.created_at) || "";
    const isGap = last && !known.has(last.id) && reached > whole.oldest;
    path = next && (isGap || (isAll && seen < known.size)) ? here(next) : null;
  }
  for (const id of unsure) {
    const now = entries.get(id)?.prediction;
    // What is over and not in the pages that it belongs to was deleted.
    if (now && (!isOver(now) || now.created_at > reached)) await look(id);
  }
  draw();
}

/**
 * Shows what the person wishes to see.
 * @param {Partial<View>} wish
 */
export async function show(wish) {
  const isSearch = wish.search !== undefined && wish.search !== view.search;
  view = { ...view, ...wish };
  if ("isLarge" in wish) localStorage.setItem(LARGE, view.isLarge ? "yes" : "");
  if (isSearch) found = { next: `${LIST}?search=${encodeURIComponent(view.search)}` };
  draw();
  if (isSearch && view.search) await showMore();
  if (view.isFavourites)
    for (const id of favoured()) if (!entries.has(id) && !gone.has(id)) await look(id);
  draw();
}

/** Asks for one prediction anew. @param {string} id */
async function look(id) {
  const before = changes;
  try {
    learn([await askJson(`/v1/predictions/${encodeURIComponent(id)}`)], before);
  } catch (error) {
    if (error.status !== 404) throw error;
    drop(id);
  }
}

/**
 * Takes what an answer has, but where something newer came while it was on its way.
 * @param {Prediction[]} results
 * @param {number} before: the number of the last change when it was asked for.
 */
function learn(results, before) {
  for (const prediction of results) {
    const entry = entries.get(prediction.id);
    if (!entry) put(prediction, false);
    else if (entry.changed <= before) pass(prediction);
  }
}

/**
 * @param {Prediction} prediction
 * @param {boolean} isFresh
 */
function put(prediction, isFresh) {
  const { id } = prediction;
  if (gone.has(id)) return;
  const card = strips.some(({ ids }) => ids.includes(id)) ? null : makeCard(prediction, actions);
  entries.set(id, {
    prediction,
    card,
    isFresh: isFresh || !isOver(prediction),
    changed: ++changes,
  });
}

/** Shows all that is there; how many that are. */
function draw() {
  const known = sorted([...entries.values()]);
  const count = arrange(byId("predictions"), known, strips, view, whole.oldest);
  byId("more").hidden = view.isFavourites || !(view.search ? found : whole).next;
  byId("welcome").hidden = whole.oldest === BEFORE_ALL || known.length > 0;
  onArranged({ shown: count, all: known.length, folded: known.filter(isFolded).length });
  tellProgress(known.map(({ prediction }) => prediction));
  return count;
}
