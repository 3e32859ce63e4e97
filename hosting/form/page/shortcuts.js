// The sheet of shortcuts.

import { openDialog } from "./dialogs.js";
import { button, h } from "./dom.js";
import { NO_SINGLE_KEYS } from "./keys.js";

/** @type {Record<string, [string, string][]>} what keys do, by where they do it. */
const KEYS = {
  Everywhere: [
    ["Ctrl Enter", "Run"],
    ["?", "Show these keys"],
  ],
  "In the prompt": [["↑ ↓", "Earlier prompts, where it is empty or is one of them"]],
  "In the viewer": [
    ["← →", "The picture before, the next one"],
    ["Esc", "Close"],
  ],
  "When painting a mask": [
    ["[ ]", "Smaller, larger brush"],
    ["Ctrl Z", "Undo"],
    ["Ctrl Y", "Redo"],
    ["+ −", "Closer, farther"],
  ],
};

/** Shows it. */
export function showShortcuts() {
  const single = h("input", { type: "checkbox", id: "single-keys" });
  single.checked = !localStorage.getItem(NO_SINGLE_KEYS);
  single.addEventListener("change", () => {
    if (single.checked) localStorage.removeItem(NO_SINGLE_KEYS);
    else localStorage.setItem(NO_SINGLE_KEYS, "true");
  });
  /** @type {HTMLDialogElement} */
  const dialog = openDialog(
    "shortcuts",
    "Keyboard shortcuts",
    ...Object.entries(KEYS).flatMap(([place, keys]) => [
      h("h3", {}, place),
      h("dl", { class: "keys" }, ...keys.flatMap(rowOf)),
    ]),
    h("p", { class: "pair" }, single, h("label", { for: single.id }, "? shows them")),
    h(
      "p",
      { class: "buttons" },
      button("Close", () => dialog.close(), { class: "primary" }),
    ),
  );
}

/** @param {[string, string]} keys */
const rowOf = ([keys, what]) => [
  h("dt", {}, ...keys.split(" ").map((key) => h("kbd", {}, key))),
  h("dd", {}, what),
];
