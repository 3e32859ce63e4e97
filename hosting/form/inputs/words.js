// Words that a model knows by files that were added to it, as buttons that write them.

import { announce, button, h } from "../page/dom.js";

/**
 * An embedding of a model.
 * @typedef {object} Embedding
 * @property {string} name
 * @property {string[]} tokens  any of which stands for it in a prompt.
 * @property {string?} reason  why it can't be used; null where it can.
 */

/**
 * Writes a word where the cursor is or was last; of a text that nobody was in yet, at its end.
 * @param {HTMLTextAreaElement} area
 * @param {string} word
 */
export function write(area, word) {
  const at = area.selectionEnd;
  const space = /(^|[\s(])$/.test(area.value.slice(0, at)) ? "" : " ";
  const end = /^($|[\s,.;:)])/.test(area.value.slice(at)) ? "" : " ";
  area.setRangeText(space + word + end, at, at, "end");
  area.dispatchEvent(new Event("input", { bubbles: true }));
  announce(`${word} is in the ${nameOf(area)}`);
}

/** @param {HTMLTextAreaElement} area */
const nameOf = (area) => area.labels[0].textContent?.toLowerCase();

/**
 * The words for a text; null where there are none.
 * @param {Embedding[]} embeddings
 * @param {HTMLTextAreaElement} area
 */
export function wordList(embeddings, area) {
  const words = embeddings.filter(({ reason }) => reason === null).map(({ tokens }) => tokens[0]);
  if (!words.length) return null;
  return h(
    "div",
    { class: "words chips", role: "group", "aria-label": `Words for the ${nameOf(area)}` },
    h("span", { class: "hint" }, "Words of this model:"),
    ...words.map((word) => button(word, () => write(area, word), { dir: "auto" })),
  );
}
