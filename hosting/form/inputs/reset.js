// Emptying the form, which can be taken back.

import { byId, say } from "../page/dom.js";
import { toast } from "../page/toast.js";
import { empty } from "./form.js";

/** Seconds in which it can be. */
const SECONDS = 8;

/** Has the button empty the form. */
export function listenForReset() {
  byId("reset").addEventListener("click", () => {
    const undo = empty();
    say("");
    toast("The form is as it was at first.", { action: "Undo", act: undo, seconds: SECONDS });
  });
}
