// How much of a prompt the model reads: its tokens, which only the model's own tokenizer can count.

import { askJson, Problem } from "../page/api.js";
import { announce, h } from "../page/dom.js";

/** Milliseconds without a change after which they are counted. */
const REST = 300;

/**
 * The count of a text.
 * @typedef {object} Count
 * @property {HTMLElement} element
 * @property {HTMLTextAreaElement} area
 */

/** @param {HTMLTextAreaElement} area @returns {Count} */
export function makeCount(area) {
  const element = h("span", { class: "hint tokens", id: `${area.id}-tokens` });
  area.setAttribute("aria-describedby", `${area.getAttribute("aria-describedby")} ${element.id}`);
  return { element, area };
}

let resting = 0;
let newest = "";

/**
 * Counts the tokens of texts once they rest; of a model that does not say how, nothing is shown.
 * @param {string} model: owner/name.
 * @param {boolean} isWeighted: whether their weights are no words.
 * @param {Count[]} counts
 */
export function countTokens(model, isWeighted, counts) {
  const texts = counts.map(({ area }) => area.value);
  const body = { model, texts, use_compel: isWeighted };
  const asked = JSON.stringify(body);
  if (asked === newest) return;
  newest = asked;
  clearTimeout(resting);
  for (const count of counts) if (!count.area.value) say(count, null, 0);
  if (!texts.some(Boolean)) return;
  resting = setTimeout(async () => {
    const answer = await askJson("/form/tokens", { body }).catch(failed);
    if (asked !== newest) return; // the texts are others by now
    for (const [place, count] of counts.entries())
      say(count, answer?.counts[place] ?? null, answer?.limit ?? Infinity);
  }, REST);
}

/** @param {Error} error */
function failed(error) {
  if (!(error instanceof Problem)) throw error;
  return null; // it is of no harm not to know
}

/**
 * @param {Count} count
 * @param {number?} tokens
 * @param {number} limit
 */
function say({ element, area }, tokens, limit) {
  const isLong = tokens !== null && tokens > limit;
  const before = element.classList.contains("fault");
  element.classList.toggle("fault", isLong);
  const end = isLong ? ": the end is left out" : "";
  element.textContent = tokens && area.value ? `${tokens} of ${limit} tokens${end}` : "";
  if (isLong && !before) announce(element.textContent);
}
