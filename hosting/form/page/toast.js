// A sentence that passes at the edge of the window, with one thing that can be done about it.

import { acting, button, h } from "./dom.js";

/** @typedef {{action?: string, act?: () => unknown, seconds?: number}} Offer */

const region = h("div", { class: "toasts", role: "status" });
let passing = 0;
/** @type {(() => unknown) | null} */
let offered = null;

/**
 * Says something for a while; what was said before goes.
 * @param {string} text
 * @param {Offer} [offer]: the name of what can be done, and what does it; Ctrl+Z does it too.
 */
export function toast(text, { action, act, seconds = 5 } = {}) {
  const take = () => {
    hide();
    return act?.();
  };
  offered = act ? take : null;
  region.replaceChildren(
    h(
      "div",
      { class: "toast" },
      h("span", {}, text),
      action ? button(action, take, { title: "Ctrl+Z" }) : null,
      button("✕", hide, { class: "quiet", "aria-label": "Dismiss" }),
    ),
  );
  place();
  clearTimeout(passing);
  passing = setTimeout(hideUnused, seconds * 1000);
}

/** Beside an open dialog nothing can be reached, so it is in there. */
function place() {
  const dialog = document.querySelector("dialog[open]");
  const home = dialog ?? document.body;
  if (region.parentElement !== home) home.append(region);
  dialog?.addEventListener("close", () => region.firstChild && setTimeout(place), { once: true });
}

/** Goes, but not from under the hand or the focus of someone who is about to press it. */
function hideUnused() {
  if (region.matches(":hover, :focus-within")) passing = setTimeout(hideUnused, 1000);
  else hide();
}

function hide() {
  clearTimeout(passing);
  offered = null;
  const hadFocus = region.contains(document.activeElement);
  region.replaceChildren();
  if (hadFocus) document.getElementById("results")?.focus({ preventScroll: true });
}

document.addEventListener("keydown", (event) => {
  const isUndo = event.key === "z" && (event.ctrlKey || event.metaKey) && !event.shiftKey;
  const isTyping = /** @type {Element} */ (event.target).closest?.("input, textarea, dialog");
  if (!isUndo || isTyping || !offered) return;
  event.preventDefault();
  acting(offered)();
});
