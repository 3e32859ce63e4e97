// Notifications of the browser, for who lets the page.

import { nameOf } from "./attention.js";

/** In the browser's store, whether the person wants them. */
const WANTED = "notify";

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
  const note = new Notification(`${how}: ${nameOf(prediction)}`, { tag: prediction.id });
  note.onclick = () => {
    window.focus();
    note.close();
    open();
  };
}

/** Whether this browser can notify anyone of anything: not by plain HTTP from elsewhere. */
export const canNotify = () => "Notification" in window && isSecureContext;

/** Whether the person wants to be notified, and the browser lets the page. */
export const wantsNotifications = () =>
  canNotify() && localStorage.getItem(WANTED) === "yes" && Notification.permission === "granted";

/**
 * Switches notifications on, for which the browser may ask the person, or off.
 * @throws {Error} where the browser does not let the page.
 */
export async function toggleNotifications() {
  if (wantsNotifications()) return localStorage.removeItem(WANTED);
  if ((await Notification.requestPermission()) !== "granted")
    throw new Error("The browser does not let this page notify you: its settings say so.");
  return localStorage.setItem(WANTED, "yes");
}
