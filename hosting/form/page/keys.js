// Keys that work everywhere on the page.

import { acting, byId } from "./dom.js";

export const IS_MAC = /Mac|iP/.test(navigator.platform);
/** Where it is kept that keys without Ctrl do nothing. */
export const NO_SINGLE_KEYS = "no-single-keys";

/**
 * Listens for them.
 * @param {() => unknown} run
 */
export function listenForKeys(run) {
  const hint = byId("run").querySelector("kbd");
  if (hint && IS_MAC) hint.textContent = "⌘ ↵";
  const open = acting(async () => (await import("./shortcuts.js")).showShortcuts());
  byId("shortcuts").addEventListener("click", open);
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return; // it has keys of its own
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      if (!event.repeat) run(); // held, it is one wish
    } else if (event.key === "?" && !isTyping(event) && !localStorage.getItem(NO_SINGLE_KEYS)) {
      event.preventDefault();
      open();
    }
  });
}

/** @param {Event} event */
const isTyping = ({ target }) =>
  target instanceof Element && target.matches("textarea, select, input:not([type=range])");
