// The prompts that were run before, in this browser: the arrow keys walk through them.

import { keepText } from "./kept.js";

const KEY = "prompts";
const MOST = 100;
/** Characters that all of them may have together. */
const MOST_CHARACTERS = 200_000;

/** The prompts, the newest first. @returns {string[]} */
export function earlierPrompts() {
  try {
    return [JSON.parse(localStorage.getItem(KEY) ?? "[]")].flat().filter(isText);
  } catch {
    return [];
  }
}

/** @param {unknown} value @returns {value is string} */
const isText = (value) => typeof value === "string";

/**
 * Keeps a prompt; the oldest go where there is no room.
 * @param {string} prompt
 */
export function keepPrompt(prompt) {
  const others = earlierPrompts().filter((one) => one !== prompt);
  for (const prompts = [prompt, ...others].slice(0, MOST); prompts.length; prompts.pop()) {
    const text = JSON.stringify(prompts);
    if (text.length <= MOST_CHARACTERS && keepText(KEY, text)) return;
  }
}

/** Forgets them. */
export const forgetPrompts = () => localStorage.removeItem(KEY);

/**
 * Has ↑ bring the prompt before into a text that is empty or is itself an earlier one, and ↓ the
 * one after.
 * @param {HTMLTextAreaElement} area
 */
export function walkByArrows(area) {
  area.addEventListener("keydown", (event) => {
    const step = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (!step || event.shiftKey || event.ctrlKey || event.altKey || event.metaKey) return;
    const { value, selectionStart, selectionEnd } = area;
    const isAtEnd = selectionStart === selectionEnd && selectionEnd === value.length;
    const prompts = earlierPrompts();
    const place = value ? prompts.indexOf(value) : -1;
    if (!isAtEnd || (value && place < 0)) return; // within a text they move the cursor
    event.preventDefault();
    const next = place + step;
    if (next >= -1 && next < prompts.length) replaceText(area, prompts[next] ?? "");
  });
}

/**
 * Puts a text in the place of another, as if it was typed.
 * @param {HTMLTextAreaElement} area
 * @param {string} text
 */
export function replaceText(area, text) {
  area.value = text;
  area.setSelectionRange(text.length, text.length);
  area.dispatchEvent(new Event("input", { bubbles: true }));
}
