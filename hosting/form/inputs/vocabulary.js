// What a small model can draw, as its description says it, to be clicked on; other models say nothing
// of it.

import { button, h } from "../page/dom.js";
import { replaceText } from "./earlier.js";
import { write } from "./words.js";

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
/** The project's own small model. */
const DEMO = "demo";
/** Things that are named at once, where a model has them; else its first. */
const SHOWN = ["fox", "castle", "rose", "robot", "pizza"];

/**
 * What the person should know of it.
 * @param {string} name: of the model.
 * @param {Vocabulary} vocabulary
 * @param {HTMLTextAreaElement} area: the prompt, into which words go.
 */
export function aboutVocabulary(name, vocabulary, area) {
  const { words } = vocabulary;
  const some = SHOWN.every((word) => words.includes(word)) ? SHOWN : words.slice(0, SHOWN.length);
  const thing = thingWriter(words, area);
  const all = h("details", { class: "vocabulary" }, h("summary", {}, "What this model can draw"));
  all.addEventListener("toggle", () => all.append(...lists(vocabulary, area, thing)), {
    once: true,
  });
  const row = chips(some, thing);
  const kind = name === DEMO ? "demo model" : "small model";
  row.prepend(h("span", { class: "hint" }, `This ${kind} knows ${words.length} words:`));
  const large = h("code", {}, "scripts/download-weights");
  const others = h("p", { class: "hint" }, "Larger models: ", large);
  return [row, all, ...(name === DEMO ? [others] : [])];
}

/**
 * All that a model draws.
 * @param {Vocabulary} vocabulary
 * @param {HTMLTextAreaElement} area
 * @param {(word: string) => void} thing
 */
function lists(vocabulary, area, thing) {
  const { words, colours, backgrounds, styles, sizes } = vocabulary;
  const sides = sizes.map((side) => `${side} × ${side}`);
  /** @param {string} colour */
  const colour = (colour) => replaceText(area, coloured(area.value, colour, vocabulary));
  /** @type {[string, string[], (word: string) => void][]} */
  const groups = [
    ["Things", words, thing],
    ["In colours", colours, colour],
    ["On a background", backgrounds, (word) => write(area, `on a ${word} background`)],
    ["In a style", styles, (word) => write(area, word)],
  ];
  return [
    ...groups
      .filter(([, some]) => some.length)
      .map(([title, some, act]) =>
        h("div", { role: "group", "aria-label": title }, h("b", {}, title), chips(some, act)),
      ),
    sides.length ? h("p", {}, h("b", {}, "Best at "), `${LIST.format(sides)} px`) : "",
  ];
}

/**
 * @param {string[]} words
 * @param {(word: string) => void} act
 */
const chips = (words, act) =>
  h("div", { class: "chips" }, ...words.map((word) => button(word, () => act(word))));

/**
 * Writes a thing: a small model draws one at a time, so that it takes the place of another.
 * @param {string[]} words
 * @param {HTMLTextAreaElement} area
 * @returns {(word: string) => void}
 */
const thingWriter = (words, area) => (word) => {
  const before = words.find((one) => area.value.trim().endsWith(one) && isWhole(area.value, one));
  if (!area.value.trim()) replaceText(area, word);
  else if (before) replaceText(area, ending(area.value.trim().slice(0, -before.length), word));
  else write(area, word);
};

/**
 * A text in a colour, in the place of another that it has.
 * @param {string} text
 * @param {string} colour
 * @param {Vocabulary} vocabulary
 */
function coloured(text, colour, { words, colours }) {
  const [, start, old] = /** @type {string[]} */ (/^(\s*(?:an?\s+)?)(.*)$/is.exec(text));
  const before = colours.find((one) => old.startsWith(`${one} `)) ?? "";
  const rest = old.slice(before.length).trimStart();
  // "an orange on a table" is no table.
  const isThing = words.includes(before) && !words.some((word) => rest.startsWith(word));
  return `${ending(start, colour)} ${isThing ? old : rest}`;
}

/**
 * A text that ends in a word, by the article that the word has.
 * @param {string} start
 * @param {string} word
 */
function ending(start, word) {
  const article = /^(?!uni|eu|one)[aeiou]/i.test(word) ? "an" : "a";
  return start.replace(/(?<!\w)(a)n?(\s+)$/i, `$1${article.slice(1)}$2`) + word;
}

/**
 * Whether a text ends in a word, and not in a part of one.
 * @param {string} text
 * @param {string} word
 */
const isWhole = (text, word) => !/\w/.test(text.trim().at(-word.length - 1) ?? "");
