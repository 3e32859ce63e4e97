// The sheet of shortcuts.

import { openDialog } from "./dialogs.js";
import { button, h } from "./dom.js";
import { IS_MAC, NO_SINGLE_KEYS } from "./keys.js";

/** @type {Record<string, [string, string][]>} what keys do, by where they do it. */
const KEYS = {
  Everywhere: [
    ["Ctrl Enter", "Run"],
    ["?", "Show these keys"],
    ["Ctrl Z", "Undo, while a message at the edge offers it"],
  ],
  "In the prompt": [["↑ ↓", "Earlier prompts, where it is empty or is one of them"]],
  "On the frame of a picture": [
    ["← ↑ → ↓", "Move it; with Shift by a pixel"],
    ["+ −", "Use less, more of the picture"],
  ],
  "In the viewer": [
    ["← →", "The picture before, the next one"],
    ["+ −", "Closer, farther"],
    ["0", "All of the picture"],
    ["1", "One pixel for one"],
    ["↑ ↓", "Move a picture that is close, with Shift ← → too"],
    ["Esc", "Close"],
  ],
  "When painting a mask": [
    ["B L R", "Brush, lasso, rectangle"],
    ["E", "Eraser, and back"],
    ["← ↑ → ↓", "Move the brush; with Shift by a pixel"],
    ["Enter", "Put the brush down, lift it"],
    ["[ ]", "Smaller, larger brush; the wheel too"],
    ["Ctrl Z", "Undo"],
    ["Ctrl Y", "Redo"],
    ["+ −", "Closer, farther; Ctrl and the wheel too"],
    ["Space", "Held: the mouse moves the picture"],
    ["Esc", "Go back"],
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
  h("dt", {}, ...keys.split(" ").map((key) => h("kbd", {}, IS_MAC && key === "Ctrl" ? "⌘" : key))),
  h("dd", {}, what),
];
