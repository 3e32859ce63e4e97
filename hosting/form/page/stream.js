// What changes of one's predictions, as it happens: one stream a browser, shared by its tabs.

import { ask } from "./api.js";
import { pause } from "./dom.js";
import { elect } from "./leader.js";

/** Milliseconds after which a stream without a word is broken: the server says one every 15 s. */
const SILENT = 40000;
/** Milliseconds between a stream that ended and the next. */
const AGAIN = 500;

/** @typedef {import("../gallery/predictions.js").Prediction} Prediction */
/** @typedef {import("../gallery/predictions.js").Place} Place */
/** @typedef {(prediction: Prediction) => void} Listener */

/**
 * What is done with what happens.
 * @typedef {object} Handlers
 * @property {Listener} prediction  one is new, or another than before.
 * @property {(id: string, queue: Place) => void} place  of one that waits is another.
 * @property {(id: string) => void} deleted
 * @property {(id: string, index: number, url: string) => void} preview  of the image of an index.
 * @property {() => void} models  they or what they have changed.
 * @property {() => void} reconnected  something may have been missed.
 */
/** @typedef {{kind: string, data: any}} Event */

/** @type {Handlers?} */
let handlers = null;
const watchers = /** @type {Map<string, Set<Listener>>} */ (new Map());
const channel = new BroadcastChannel("stream");

/**
 * Begins to listen, by whichever tab has the stream.
 * @param {Handlers} what
 */
export function begin(what) {
  handlers = what;
  channel.addEventListener("message", ({ data }) => happen(data));
  const election = elect("stream", async (until) => {
    while (!until.aborted) {
      try {
        for await (const event of events(until, election.speak)) tell(event);
      } catch {
        // It broke: the next one says what was missed.
      }
      await pause(AGAIN);
    }
  });
}

/**
 * Calls a listener with each newer state of a prediction.
 * @param {string} id
 * @param {Listener} listener
 * @returns {() => void} ends that.
 */
export function watch(id, listener) {
  const listeners = watchers.get(id) ?? new Set();
  watchers.set(id, listeners.add(listener));
  return () => {
    listeners.delete(listener);
    if (!listeners.size) watchers.delete(id);
  };
}

/**
 * Passes on a newer state of a prediction that came otherwise than by the stream.
 * @param {Prediction} prediction
 */
export function pass(prediction) {
  handlers?.prediction(prediction);
  for (const listener of [...(watchers.get(prediction.id) ?? [])]) listener(prediction);
}

/**
 * To all tabs.
 * @param {Event} event
 */
function tell(event) {
  channel.postMessage(event);
  happen(event);
}

/** @param {Event} event */
function happen({ kind, data }) {
  try {
    if (kind === "prediction") pass(data);
    if (kind === "place") handlers?.place(data.id, data.queue);
    if (kind === "deleted") handlers?.deleted(data.id);
    if (kind === "preview") handlers?.preview(data.id, data.index, data.url);
    if (kind === "models") handlers?.models();
    if (kind === "connected") handlers?.reconnected();
  } catch (error) {
    reportError(error); // a fault of the page's own; the stream goes on
  }
}

/**
 * The events of one connection.
 * @param {AbortSignal} until
 * @param {() => void} alive: called whenever anything comes.
 * @returns {AsyncGenerator<Event>}
 */
async function* events(until, alive) {
  const silence = new AbortController();
  let silent = 0;
  const wait = () => {
    clearTimeout(silent);
    silent = setTimeout(() => silence.abort(), SILENT);
  };
  const heard = () => {
    alive();
    wait();
  };
  const signal = AbortSignal.any([until, silence.signal]);
  try {
    wait();
    const answer = await ask("/form/events", { signal, accept: "text/event-stream" });
    heard();
    yield* parsed(answer, heard);
  } finally {
    clearTimeout(silent);
  }
}

/**
 * The events of a stream, as the HTML standard writes them, after one that says that it stands: the
 * server begins to look for changes a moment after the headers.
 * @param {Response} answer
 * @param {() => void} heard: called with each piece.
 * @returns {AsyncGenerator<Event>}
 */
async function* parsed({ body }, heard) {
  if (!body) return;
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  let isFirst = true;
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    heard();
    if (isFirst) yield { kind: "connected", data: {} };
    isFirst = false;
    text += value;
    const blocks = text.split("\n\n");
    text = /** @type {string} */ (blocks.pop());
    for (const block of blocks) {
      const kind = /^event: ?(.*)$/m.exec(block)?.[1];
      const data = /^data: ?(.*)$/m.exec(block)?.[1];
      if (kind && data) yield { kind, data: JSON.parse(data) };
    }
  }
}
