// Emptying the form, or filling it with other settings, which can be taken back.

import { byId, say } from "../page/dom.js";
import { toast } from "../page/toast.js";
import { fill } from "./form.js";

/** Seconds in which it can be. */
const SECONDS = 8;

/** Has the button empty the form. */
export function listenForReset() {
  byId("reset").addEventListener("click", () => {
    const undo = fill({});
    say("");
    offerUndo("Form reset.", undo, byId("reset"));
  });
}

/**
 * Says that the form holds something else, and how it gets back what it held.
 * @param {string} text
 * @param {() => unknown} undo
 * @param {HTMLElement} home: has the focus after it, where that was on the button of the toast.
 */
export function offerUndo(text, undo, home = byId("run")) {
  const act = () => {
    if (document.activeElement === byId("results")) home.focus({ preventScroll: true });
    return undo();
  };
  toast(text, { action: "Undo", act, seconds: SECONDS });
}
