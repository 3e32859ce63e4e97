// What belongs to the prompts: earlier ones, styles, the count of their tokens, words of the model.

import { button, h } from "../page/dom.js";
import { icon } from "../page/icons.js";
import { walkByArrows } from "./earlier.js";
import { countTokens, makeCount } from "./tokens.js";
import { wordList } from "./words.js";

/** @typedef {import("./form.js").Model} Model */

/**
 * The prompts of a form.
 * @typedef {object} Prompts
 * @property {(model: Model) => void} show  what is known of the model now.
 * @property {(model: Model, isWeighted: boolean) => void} count  counts what is in them, where
 *   weights are no words of theirs.
 */

/**
 * Adds to the fields of the prompts what belongs to them.
 * @param {HTMLTextAreaElement} prompt
 * @param {HTMLTextAreaElement?} negative: null where the model has none.
 * @returns {Prompts}
 */
export function furnishPrompts(prompt, negative) {
  const areas = negative ? [prompt, negative] : [prompt];
  const counts = areas.map(makeCount);
  const tools = h("div", { class: "ways" });
  const earlier = button("", earlierChosen, { class: "quiet", "aria-haspopup": "dialog" });
  earlier.append(icon("clock"), "Earlier");
  tools.append(
    earlier,
    button("Styles", stylesChosen, { class: "quiet", "aria-haspopup": "dialog" }),
  );
  const about = h("div", { class: "about" });
  prompt.after(h("div", { class: "below" }, tools, counts[0].element), about);
  negative?.after(counts[1].element);
  walkByArrows(prompt);
  let shown = "";

  // Few people need these at once: the others don't wait for them.
  async function earlierChosen() {
    const { chooseEarlier } = await import("./earlier-list.js");
    chooseEarlier(prompt);
  }
  async function stylesChosen() {
    const { openStyles } = await import("./styles.js");
    openStyles({ prompt, negative });
  }

  /** @param {Model} model */
  async function showAbout({ name, description }) {
    if (!description) return about.replaceChildren();
    const { vocabulary, checker } = description;
    const text = `${checker ? "Every" : "No"} picture is checked for NSFW.`;
    const checked = h("p", { class: "hint" }, text);
    about.replaceChildren(checked);
    if (!vocabulary) return;
    const { aboutVocabulary } = await import("./vocabulary.js");
    about.replaceChildren(...aboutVocabulary(name, vocabulary, prompt), checked);
  }

  return {
    show(model) {
      for (const area of areas) {
        const list = wordList(model.description?.embeddings ?? [], area);
        const before = area.parentElement?.querySelector(".words");
        if (before?.textContent === list?.textContent) continue; // the focus may be in it
        before?.remove();
        if (list) area.after(list);
      }
      const { vocabulary, checker } = model.description ?? {};
      const known = JSON.stringify([model.name, vocabulary, checker]);
      if (known !== shown) showAbout(model);
      shown = known;
    },
    count(model, isWeighted) {
      if (model.description?.token_limit) countTokens(model.id, isWeighted, counts);
      else for (const { element } of counts) element.textContent = "";
    },
  };
}
