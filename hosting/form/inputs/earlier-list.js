// The list of the prompts that were run before.

import { openDialog } from "../page/dialogs.js";
import { button, h } from "../page/dom.js";
import { earlierPrompts, forgetPrompts, replaceText } from "./earlier.js";

/**
 * Has the person choose one of them, which comes into a text.
 * @param {HTMLTextAreaElement} area
 */
export function chooseEarlier(area) {
  const find = h("input", { type: "search", "aria-label": "Find a prompt", placeholder: "Find" });
  const prompts = earlierPrompts();
  const list = h("ul", { class: "rows" });
  const none = h("p", { class: "hint" });
  const buttons = h(
    "p",
    { class: "buttons" },
    button("Forget them", forget, { class: "quiet", disabled: !prompts.length }),
    button("Close", () => dialog.close()),
  );

  /** @param {string} prompt */
  function choose(prompt) {
    dialog.close();
    replaceText(area, prompt);
    area.focus();
  }

  function forget() {
    forgetPrompts();
    dialog.close();
  }

  function show() {
    const words = find.value.toLowerCase().split(/\s+/);
    const found = prompts.filter((prompt) =>
      words.every((word) => prompt.toLowerCase().includes(word)),
    );
    list.replaceChildren(
      ...found.map((prompt) =>
        h(
          "li",
          {},
          button(prompt, () => choose(prompt), { dir: "auto" }),
        ),
      ),
    );
    list.hidden = !found.length;
    if (!prompts.length) none.textContent = "Prompts that you run are listed here.";
    else none.textContent = found.length ? "" : "No prompt has these words.";
  }

  find.addEventListener("input", show);
  show();
  /** @type {HTMLDialogElement} */
  const dialog = openDialog("earlier", "Earlier prompts", find, list, none, buttons);
}
