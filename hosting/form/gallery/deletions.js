// Predictions that are about to be deleted: for a while it can be taken back.

import { ask, token } from "../page/api.js";
import { say } from "../page/dom.js";
import { toast } from "../page/toast.js";

/** Seconds in which a deletion can be taken back. */
const UNDO = 8;

/** @typedef {import("./predictions.js").Prediction} Prediction */

/** When each is deleted, by its id. */
const due = /** @type {Map<string, number>} */ (new Map());

/** @param {string} id */
const pathOf = (id) => `/v1/predictions/${encodeURIComponent(id)}`;

/**
 * Deletes a prediction, unless the person takes it back.
 * @param {Prediction} prediction
 * @param {() => void} back: called when it stays.
 */
export function deleteSoon({ id, input }, back) {
  const timer = setTimeout(async () => {
    due.delete(id);
    try {
      await ask(pathOf(id), { method: "DELETE" });
    } catch (error) {
      if (error.status === 404) return; // another tab was faster
      back();
      say(error.message);
    }
  }, UNDO * 1000);
  due.set(id, timer);
  const undo = () => {
    if (!due.has(id)) return;
    clearTimeout(timer);
    due.delete(id);
    back();
  };
  const name = String(input.prompt || "Without a prompt");
  const text = `Deleted: ${name.length > 60 ? `${name.slice(0, 60)} …` : name}`;
  toast(text, { action: "Undo", act: undo, seconds: UNDO });
}

/** Whoever leaves the page takes nothing back. */
addEventListener("pagehide", () => {
  const asWho = token();
  /** @type {Record<string, string>} */
  const headers = asWho ? { Authorization: `Bearer ${asWho}` } : {};
  for (const [id, timer] of due) {
    clearTimeout(timer);
    fetch(pathOf(id), { method: "DELETE", keepalive: true, headers });
  }
  due.clear();
});
