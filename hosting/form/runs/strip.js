// Several predictions that belong together, side by side: the cells of a grid, or the pictures that
// the form was run on. They are kept in this browser, and are there after a reload.

import * as history from "../gallery/history.js";
import { isOver, stop } from "../gallery/predictions.js";
import { askJson, Problem } from "../page/api.js";
import { acting, announce, byId, faultOf, pause } from "../page/dom.js";
import { pass, watch } from "../page/stream.js";
import { useStyle } from "../page/style-sheet.js";
import { post } from "./runs.js";
import { makeCell, makeView } from "./strip-view.js";

/** @typedef {import("../inputs/form.js").Model} Model */
/** @typedef {import("../gallery/predictions.js").Prediction} Prediction */
/** @typedef {import("../inputs/schema.js").Value} Value */

/**
 * What is kept of a strip.
 * @typedef {object} Kept
 * @property {number} begun  when, in milliseconds; no two have begun at the same time.
 * @property {string} title
 * @property {string} about
 * @property {string[]} columns
 * @property {string[]} rows  none where the cells are one row, which may break.
 * @property {(string | null)[]} ids  of the predictions, row by row; null for what was not asked for.
 */
/**
 * Makes the inputs of a cell. It is told the first prediction, whose files it may use.
 * @typedef {(first: Prediction?) => Promise<Record<string, Value>>} Making
 */

const STORE = "strips";
/** Strips that are kept. */
const MOST = 6;
/** Milliseconds until what the queue had no room for is asked for again. */
const FULL = 2000;
/** What the server answers that has no room or no time: it has taken nothing. */
const BUSY = [429, 503];
/** Few people have strips: the others don't wait for how they look. */
const STYLE = "runs/strip";

/** @returns {Kept[]} the newest first. */
function read() {
  try {
    const kept = JSON.parse(localStorage.getItem(STORE) ?? "[]");
    return Array.isArray(kept) ? kept : [];
  } catch {
    return [];
  }
}

/**
 * Keeps a strip as it is now, or forgets it. Other tabs have kept others.
 * @param {Kept} strip
 * @param {boolean} isKept
 */
function keep(strip, isKept = true) {
  const others = read().filter(({ begun }) => begun !== strip.begun);
  const all = isKept ? [strip, ...others].sort((one, other) => other.begun - one.begun) : others;
  localStorage.setItem(STORE, JSON.stringify(all.slice(0, MOST)));
}

/** Shows the strips that were kept, soon as they are to look: nothing waits for that. */
export function showKept() {
  useStyle(STYLE);
  for (const kept of read().reverse()) {
    const strip = new Strip(kept);
    acting(() => strip.follow())();
  }
}

/**
 * Shows a new strip, and asks for its predictions one after the other, unless it is stopped.
 * @param {Pick<Kept, "title" | "about" | "columns" | "rows">} about
 * @param {Making[]} inputs: of its cells, row by row.
 * @param {Model} model
 */
export async function begin(about, inputs, model) {
  await useStyle(STYLE);
  const kept = { ...about, begun: Date.now(), ids: Array(inputs.length).fill(null) };
  await new Strip(kept).send(inputs, model);
}

/** A strip that is shown: one of the gallery's, too. */
class Strip {
  /** @param {Kept} kept */
  constructor(kept) {
    this.kept = kept;
    this.cells = kept.ids.map((_, place) => makeCell(nameOf(kept, place)));
    this.view = makeView(kept, this.cells, {
      stop: () => this.stop(),
      ungroup: () => this.ungroup(),
    });
    this.element = this.view.element;
    this.ids = kept.ids.filter((id) => id !== null);
    this.watching = /** @type {Map<string, () => void>} */ (new Map());
    this.isStopped = false;
    this.isSending = false;
    history.addStrip(this);
  }

  count() {
    this.view.count(this.isSending);
  }

  /**
   * Asks for its predictions, one after the other.
   * @param {Making[]} inputs
   * @param {Model} model
   */
  async send(inputs, model) {
    const { kept, cells, view } = this;
    this.isSending = true;
    this.count();
    view.lead();
    try {
      for await (const [place, prediction] of sent(inputs, model, () => this.isStopped)) {
        kept.ids[place] = prediction.id;
        keep(kept);
        this.ids.push(prediction.id);
        this.show(place, prediction);
        if (this.isStopped) await this.stop(); // it was on its way
      }
    } catch (error) {
      view.say(faultOf(error));
    }
    this.isSending = false;
    for (const cell of cells) if (!cell.prediction) cell.say("Not asked for");
    this.count();
  }

  /** Shows what has become of those that were asked for before. */
  async follow() {
    for (const [place, id] of this.kept.ids.entries()) {
      const prediction = id && (await find(id));
      if (prediction) this.show(place, prediction);
      else this.cells[place].say(id ? "Deleted" : "Not asked for");
    }
    if (this.watching.size) return this.count();
    keep(this.kept, false); // nothing of it is left
    history.removeStrip(this);
  }

  async stop() {
    this.isStopped = true;
    // The last first: else one that waits would begin as soon as one before it has ended.
    for (const { prediction } of this.cells.toReversed())
      if (prediction && !isOver(prediction))
        await stop(prediction).then(pass, (error) => this.view.say(faultOf(error)));
  }

  /** Its predictions get cards of their own. */
  ungroup() {
    for (const end of this.watching.values()) end();
    keep(this.kept, false);
    history.removeStrip(this);
    byId("results").focus({ preventScroll: true });
    announce("Each has a card of its own now");
  }

  /**
   * @param {string} id: of a prediction that was deleted.
   * @param {boolean} isGone: false where that was taken back.
   */
  gone(id, isGone) {
    this.cells[this.kept.ids.indexOf(id)]?.hide(isGone);
    this.count();
  }

  /**
   * @param {number} place
   * @param {Prediction} prediction
   */
  show(place, prediction) {
    const { id } = prediction;
    /** @param {Prediction} now */
    const update = (now) => {
      this.cells[place].update(now);
      this.count();
    };
    history.addStrip(this); // it may have one more
    history.add(prediction, { isNew: false });
    this.watching.set(id, watch(id, update));
    update(history.all().find((one) => one.id === id) ?? prediction);
  }
}

/**
 * The prediction of an id; null where it was deleted.
 * @param {string} id
 * @returns {Promise<Prediction?>}
 */
async function find(id) {
  const known = history.all().find((one) => one.id === id);
  if (known) return known;
  try {
    return await askJson(`/v1/predictions/${id}`);
  } catch (error) {
    if (error instanceof Problem && error.status === 404) return null;
    throw error;
  }
}

/**
 * Asks for predictions, one after the other; where the queue is full, once it has room.
 * @param {Making[]} inputs
 * @param {Model} model
 * @param {() => boolean} isStopped
 * @returns {AsyncGenerator<[number, Prediction]>} each with its place.
 */
async function* sent(inputs, model, isStopped) {
  /** @type {Prediction?} */
  let first = null;
  for (const [place, making] of inputs.entries()) {
    const input = await making(first);
    for (;;) {
      if (isStopped()) return;
      try {
        const prediction = await post(input, model);
        first ??= prediction;
        yield [place, prediction];
        break;
      } catch (error) {
        if (!(error instanceof Problem && BUSY.includes(error.status))) throw error;
        await pause(FULL);
      }
    }
  }
}

/**
 * @param {Kept} kept
 * @param {number} place
 */
function nameOf({ columns, rows }, place) {
  const row = rows[Math.floor(place / columns.length)];
  return [columns[place % columns.length], row].filter(Boolean).join(", ");
}
