// Notifications of the browser, for who lets the page.

import { nameOf } from "./attention.js";
import { byId } from "./dom.js";

/** In the browser's store, whether the person wants them, or the browser has none for pages. */
const WANTED = "notify";
const YES = "yes";
const NONE = "none";

/** @typedef {import("../gallery/predictions.js").Prediction} Prediction */

/**
 * Notifies a person who wants that of the end of a prediction.
 * @param {Prediction} prediction
 * @param {() => void} open: called when it is pressed.
 */
export function notify(prediction, open) {
  if (!wantsNotifications()) return;
  const how = prediction.status === "succeeded" ? "Done" : "Failed";
  // Tabs give it one name, so that several of them show one.
  const note = noteOf(`${how}: ${nameOf(prediction)}`, { tag: prediction.id });
  if (!note) return;
  note.onclick = () => {
    window.focus();
    note.close();
    open();
  };
}

/**
 * A notification. Chrome on Android has the class, and lets no page make one: nothing tells before.
 * @param {string} title
 * @param {NotificationOptions} options
 */
function noteOf(title, options) {
  try {
    return new Notification(title, options);
  } catch {
    localStorage.setItem(WANTED, NONE);
    byId("notify").hidden = true;
    return null;
  }
}

/** Whether this browser can notify anyone of anything: not by plain HTTP from elsewhere. */
export const canNotify = () =>
  "Notification" in window && isSecureContext && localStorage.getItem(WANTED) !== NONE;

/** Whether the person wants to be notified, and the browser lets the page. */
export const wantsNotifications = () =>
  canNotify() && localStorage.getItem(WANTED) === YES && Notification.permission === "granted";

/**
 * Switches notifications on, for which the browser may ask the person, or off.
 * @throws {Error} where the browser does not let the page.
 */
export async function toggleNotifications() {
  if (wantsNotifications()) return localStorage.removeItem(WANTED);
  if ((await Notification.requestPermission()) !== "granted")
    throw new Error("The browser does not let this page notify you: its settings say so.");
  return localStorage.setItem(WANTED, YES);
}
