// What tells a person who is elsewhere how far it is: the tab's title, and a notification.

import { acting } from "./dom.js";

const TITLE = document.title;
/** Milliseconds in which a tab that is seen can say that no notification is needed. */
const SEEN = 700;
/** Letters of a prompt in a title. */
const LONGEST = 60;

/** @typedef {import("../gallery/predictions.js").Prediction} Prediction */

const channel = new BroadcastChannel("attention");
/** Ids of those whose end was seen in another tab. */
const seen = /** @type {Set<string>} */ (new Set());
/** @type {Prediction?} the last that ended while nobody looked. */
let finished = null;

channel.addEventListener("message", ({ data }) => seen.add(data));
document.addEventListener("visibilitychange", () => {
  if (document.hidden || !finished) return;
  finished = null;
  document.title = TITLE;
});

/** @param {Prediction} prediction */
export const nameOf = ({ input }) => String(input.prompt || "a picture").slice(0, LONGEST);

/**
 * Says in the tab's title how far the newest of those that run is.
 * @param {Prediction[]} predictions: the newest first.
 */
export function tellProgress(predictions) {
  const running = predictions.find(({ status }) => status === "processing");
  const { step = 0, steps = 1 } = running?.metrics?.progress ?? {};
  if (running) document.title = `(${Math.round((100 * step) / steps)} %) ${nameOf(running)}`;
  else document.title = finished ? `✓ ${nameOf(finished)}` : TITLE;
}

/**
 * Tells the end of a prediction to who is elsewhere.
 * @param {Prediction} prediction
 * @param {() => void} open: called when the person wants to see it.
 */
export function tellEnd(prediction, open) {
  const { status } = prediction;
  if (status !== "succeeded" && status !== "failed") return;
  if (!document.hidden) {
    channel.postMessage(prediction.id);
    return;
  }
  if (status === "succeeded") finished = prediction;
  const tell = acting(async () => {
    if (seen.has(prediction.id)) return;
    const { notify } = await import("./notifications.js");
    notify(prediction, open);
  });
  setTimeout(tell, SEEN);
}
