// Sentences that pass at the edge of the window, some with one thing that can be done about them.

import { acting, announce, button, faultOf, h } from "./dom.js";

/**
 * What else there is to a toast.
 * @typedef {object} Offer
 * @property {string} [action]  the name of what can be done.
 * @property {() => unknown} [act]  does it; so does Ctrl+Z for the newest.
 * @property {() => unknown} [gone]  called when it has passed and nothing was done.
 * @property {number} [seconds]
 */
/**
 * @typedef {object} Toast
 * @property {() => void} withdraw
 * @property {(() => unknown) | null} take
 * @property {boolean} isPending  whether something will be done when it is gone.
 */

/** Seconds for which a failure is shown. */
const FAILURE = 10;

const region = h("div", { class: "toasts", role: "region", "aria-label": "Messages" });
/** Those that are shown, the newest last. */
const shown = /** @type {Set<Toast>} */ (new Set());

/**
 * Says something for a while; what was said before goes, unless something waits for that.
 * @param {string} text
 * @param {Offer} [offer]
 * @returns {Toast} which can be withdrawn: then it is not `gone`.
 */
export function toast(text, { action, act, gone, seconds = 5 } = {}) {
  for (const one of shown) if (!one.isPending) one.withdraw();
  let passing = 0;
  const withdraw = () => {
    clearTimeout(passing);
    shown.delete(made);
    const hadFocus = element.contains(document.activeElement);
    element.remove();
    if (hadFocus) document.getElementById("results")?.focus({ preventScroll: true });
  };
  const take = () => {
    withdraw();
    return act?.();
  };
  const end = () => {
    withdraw();
    return gone?.();
  };
  // It goes, but not from under the hand or the focus of someone who is about to press it.
  const endUnused = () => {
    if (element.matches(":hover, :focus-within")) passing = setTimeout(endUnused, 1000);
    else end();
  };
  const element = h(
    "div",
    { class: "toast" },
    h("span", {}, text),
    action ? button(action, take, { title: "Ctrl+Z" }) : null,
    button("✕", end, { class: "quiet", "aria-label": "Dismiss" }),
  );
  const made = { withdraw, take: act ? take : null, isPending: Boolean(gone) };
  shown.add(made);
  region.append(element);
  place();
  announce(text); // a live region that comes with its first text says nothing
  passing = setTimeout(endUnused, seconds * 1000);
  return made;
}

/**
 * A listener whose failure is said where the person looks, wherever that is.
 * @param {import("./dom.js").Listener} listener
 * @returns {(event?: any) => Promise<void>}
 */
export const trying = (listener) => async (event) => {
  try {
    await listener(event);
  } catch (error) {
    toast(faultOf(error), { seconds: FAILURE });
  }
};

/** Beside an open dialog nothing can be reached, so they are in there. */
function place() {
  const dialog = document.querySelector("dialog[open]");
  const home = dialog ?? document.body;
  if (region.parentElement !== home) home.append(region);
  dialog?.addEventListener("close", () => shown.size && setTimeout(place), { once: true });
}

document.addEventListener("keydown", (event) => {
  const isUndo = event.key === "z" && (event.ctrlKey || event.metaKey) && !event.shiftKey;
  const isTyping = /** @type {Element} */ (event.target).closest?.("input, textarea, dialog");
  const offered = [...shown].findLast(({ take }) => take);
  if (!isUndo || isTyping || !offered?.take) return;
  event.preventDefault();
  acting(offered.take)();
});
