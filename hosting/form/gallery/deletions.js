// Predictions that are about to be deleted: as long as a toast says so, it can be taken back.

import { ask, token } from "../page/api.js";
import { faultOf } from "../page/dom.js";
import { toast } from "../page/toast.js";

/** Seconds in which a deletion can be taken back. */
const UNDO = 8;
/** Letters of a prompt in a toast. */
const LONGEST = 60;

/** @typedef {import("./predictions.js").Prediction} Prediction */
/**
 * A deletion that the server has not answered.
 * @typedef {object} Deletion
 * @property {string?} asWho  the token of who wants it: the page may forget it meanwhile.
 * @property {() => void} back
 * @property {boolean} isSent  whether it is too late to take it back.
 */

/** By the ids of the predictions. */
const due = /** @type {Map<string, Deletion>} */ (new Map());
/** @type {import("../page/toast.js").Toast?} */
let offer = null;

/** @param {string} id */
const pathOf = (id) => `/v1/predictions/${encodeURIComponent(id)}`;

const unsent = () => [...due].filter(([, { isSent }]) => !isSent);

/**
 * Deletes a prediction, unless the person takes it back.
 * @param {Prediction} prediction
 * @param {() => void} back: called when it stays.
 */
export function deleteSoon({ id, input }, back) {
  due.set(id, { asWho: token(), back, isSent: false });
  const count = unsent().length;
  const name = String(input.prompt || "Without a prompt");
  const short = name.length > LONGEST ? `${name.slice(0, LONGEST)} …` : name;
  offer?.withdraw();
  offer = toast(count > 1 ? `Deleted ${count} predictions` : `Deleted: ${short}`, {
    action: "Undo",
    act: undo,
    gone: () => Promise.all(unsent().map(([one]) => send(one))),
    seconds: UNDO,
  });
}

function undo() {
  for (const [id, { back }] of unsent()) {
    due.delete(id);
    back();
  }
}

/** @param {string} id */
async function send(id) {
  const deletion = /** @type {Deletion} */ (due.get(id));
  deletion.isSent = true;
  try {
    await ask(pathOf(id), { method: "DELETE" });
  } catch (error) {
    if (error.status === 404) return; // another tab was faster
    deletion.back();
    toast(`It is not deleted. ${faultOf(error)}`);
  } finally {
    due.delete(id);
  }
}

/** Whoever leaves the page takes nothing back. What is on its way may not arrive: it is sent again. */
addEventListener("pagehide", () => {
  offer?.withdraw();
  for (const [id, { asWho }] of due) {
    /** @type {Record<string, string>} */
    const headers = asWho ? { Authorization: `Bearer ${asWho}` } : {};
    fetch(pathOf(id), { method: "DELETE", keepalive: true, headers }).catch(() => {});
  }
  due.clear();
});
