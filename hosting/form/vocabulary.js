// What a small model can draw, as its description says it; other models say nothing of it.

import { h } from "./dom.js";

/**
 * A vocabulary.
 * @typedef {object} Vocabulary
 * @property {string[]} words  for the things that it draws.
 * @property {string[]} colours
 * @property {string[]} backgrounds
 * @property {string[]} styles
 * @property {number[]} sizes  the sides in px of the squares that it draws well.
 */

const LIST = new Intl.ListFormat("en");

/**
 * A vocabulary, to be opened by whoever wants to know.
 * @param {Vocabulary} vocabulary
 */
export function vocabularyList({ words, colours, backgrounds, styles, sizes }) {
  const sides = sizes.map((side) => `${side} × ${side}`);
  return h(
    "details",
    { class: "vocabulary" },
    h("summary", {}, "What this model can draw"),
    h("p", {}, words.join(", ")),
    h("p", {}, h("b", {}, "In colours: "), colours.join(", ")),
    h("p", {}, h("b", {}, "On a background: "), backgrounds.join(", ")),
    h("p", {}, h("b", {}, "In a style: "), styles.join(", ")),
    sides.length ? h("p", {}, h("b", {}, "Best at: "), `${LIST.format(sides)} px`) : null,
  );
}
