// Several predictions that belong together, side by side: the cells of a grid, or the pictures that
// the form was run on. They are kept in this browser, and are there after a reload.

import { askJson, Problem } from "./api.js";
import { acting, announce, h, pause } from "./dom.js";
import * as history from "./history.js";
import { isOver, stop } from "./predictions.js";
import { post } from "./runs.js";
import { watch } from "./stream.js";
import { makeCell, makeView } from "./strip-view.js";

/** @typedef {import("./form.js").Model} Model */
/** @typedef {import("./predictions.js").Prediction} Prediction */
/** @typedef {import("./schema.js").Value} Value */

/**
 * What is kept of a strip.
 * @typedef {object} Kept
 * @property {string} title
 * @property {string} about
 * @property {string[]} columns
 * @property {string[]} rows  none where the cells are one row, which may break.
 * @property {(string | null)[]} ids  of the predictions, row by row; null for what was not asked for.
 */
/**
 * @typedef {object} Strip
 * @property {HTMLElement} element
 * @property {(inputs: ((first: Prediction?) => Promise<Record<string, Value>>)[], model: Model) => Promise<void>} send
 *   asks for the predictions of its cells, one after the other, unless it is stopped; each is told
 *   the first, whose files it may use.
 */

const STORE = "strips";
/** Strips that are kept. */
const MOST = 6;
/** Milliseconds until what the queue had no room for is asked for again. */
const FULL = 2000;

/** @type {Kept[]} */
let strips = read();

/** @returns {Kept[]} */
function read() {
  try {
    const kept = JSON.parse(localStorage.getItem(STORE) ?? "[]");
    return Array.isArray(kept) ? kept : [];
  } catch {
    return [];
  }
}

const keep = () => localStorage.setItem(STORE, JSON.stringify(strips.slice(0, MOST)));

/** Shows the strips that were kept. */
export async function showKept() {
  await styled();
  for (const kept of [...strips].reverse()) make(kept).follow();
}

/**
 * Shows a new strip, of which nothing was asked for yet.
 * @param {Omit<Kept, "ids">} about
 * @returns {Promise<Strip>}
 */
export async function begin(about) {
  await styled();
  const count = about.columns.length * (about.rows.length || 1);
  const kept = { ...about, ids: Array(count).fill(null) };
  strips = [kept, ...strips];
  keep();
  const strip = make(kept);
  strip.element.scrollIntoView({ block: "nearest" });
  strip.element.querySelector("h3")?.focus();
  return strip;
}

/** @type {Promise<void>?} */
let styling = null;

/** Few people have strips: the others don't wait for how they look. */
const styled = () =>
  (styling ??= new Promise((done) => {
    const sheet = h("link", { rel: "stylesheet", href: "/form/strip.css", onload: () => done() });
    document.head.append(sheet);
  }));

/**
 * @param {Kept} kept
 * @returns {Strip & {follow: () => void}}
 */
function make(kept) {
  const cells = kept.ids.map((_, place) => makeCell(nameOf(kept, place)));
  const view = makeView(kept, cells, { stop: stopAll, takeApart });
  const shown = { element: view.element, ids: kept.ids.filter((id) => id !== null) };
  /** @type {(() => void)[]} */
  const watching = [];
  let isStopped = false;
  let isSending = false;
  const count = () => view.count(isSending);

  async function stopAll() {
    isStopped = true;
    for (const { prediction, update } of cells)
      if (prediction && !isOver(prediction)) update(await stop(prediction));
    count();
  }

  /** Its predictions get cards of their own. */
  function takeApart() {
    strips = strips.filter((one) => one !== kept);
    keep();
    for (const end of watching) end();
    history.removeStrip(shown);
    announce("Each has a card of its own now");
  }

  /**
   * @param {number} place
   * @param {Prediction} prediction
   */
  function show(place, prediction) {
    const { update } = cells[place];
    history.addStrip(shown); // it has one more
    history.add(prediction, { isNew: false });
    watching.push(
      watch(prediction.id, (now) => {
        update(now);
        count();
      }),
    );
    update(prediction);
    count();
  }

  history.addStrip(shown);
  count();
  return {
    element: view.element,
    async send(inputs, model) {
      isSending = true;
      count();
      /** @type {Prediction?} */
      let first = null;
      try {
        for (const [place, input] of inputs.entries()) {
          const prediction = await sendOne(await input(first), model, () => isStopped);
          if (!prediction) break;
          first ??= prediction;
          kept.ids[place] = prediction.id;
          keep();
          shown.ids.push(prediction.id);
          show(place, prediction);
        }
      } catch (error) {
        view.say(error.message);
      } finally {
        isSending = false;
        for (const cell of cells) if (!cell.prediction) cell.say("Not asked for");
        count();
      }
    },
    follow() {
      for (const [place, id] of kept.ids.entries())
        if (id) acting(async () => show(place, await known(id)))();
        else cells[place].say("Not asked for");
    },
  };
}

/**
 * A prediction that was asked for before.
 * @param {string} id
 * @returns {Promise<Prediction>}
 */
const known = async (id) =>
  history.all().find((one) => one.id === id) ?? (await askJson(`/v1/predictions/${id}`));

/**
 * Asks for a prediction once the queue has room for it; null where it is stopped before.
 * @param {Record<string, Value>} input
 * @param {Model} model
 * @param {() => boolean} isStopped
 */
async function sendOne(input, model, isStopped) {
  while (!isStopped())
    try {
      return await post(input, model);
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 429) throw error;
      await pause(FULL);
    }
  return null;
}

/**
 * @param {Kept} kept
 * @param {number} place
 */
function nameOf({ columns, rows }, place) {
  const row = rows[Math.floor(place / columns.length)];
  return [columns[place % columns.length], row].filter(Boolean).join(", ");
}
