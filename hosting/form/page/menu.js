// A menu beside a button, by mouse, finger and keys.

import { button, byId, h } from "./dom.js";
import { icon } from "./icons.js";
import { trying } from "./toast.js";

/** Pixels between a menu and its anchor, and the window's edges. */
const GAP = 6;

/** @typedef {{name: string, act: () => unknown}} Choice */
/**
 * A line of a menu; with choices it has one button for each of them.
 * @typedef {object} ItemProperties
 * @property {string} name
 * @property {import("./icons.js").Icon} sign
 * @property {() => unknown} [act]
 * @property {Choice[]} [choices]
 */
/** @typedef {ItemProperties | null} Item  null is a line between two groups. */

/** @type {{anchor: HTMLElement, close: () => void} | null} */
let opened = null;

/**
 * Opens a menu until something is chosen, or nothing is wanted. Closes that which is open already.
 * @param {HTMLElement} anchor: has the focus again afterwards.
 * @param {Item[]} items
 */
export function openMenu(anchor, items) {
  const before = opened;
  before?.close();
  if (before?.anchor === anchor) return;
  // Not popover=auto: that closes when the finger is lifted whose long press has opened it.
  const menu = h("div", { class: "menu", role: "menu", popover: "manual" });
  menu.setAttribute("aria-label", anchor.getAttribute("aria-label") ?? "Menu");
  const close = () => {
    opened = null;
    removeEventListener("pointerdown", onPress);
    removeEventListener("keydown", onEscape, true);
    if (menu.contains(document.activeElement)) anchor.focus({ preventScroll: true });
    anchor.removeAttribute("aria-expanded");
    menu.remove();
  };
  /** @param {PointerEvent} event */
  const onPress = ({ target }) => {
    const at = /** @type {Node} */ (target);
    const isToggle = anchor.ariaHasPopup && anchor.contains(at); // its click closes it
    if (!menu.contains(at) && !isToggle) close();
  };
  /** @param {KeyboardEvent} event */
  const onEscape = (event) => {
    if (event.key !== "Escape") return;
    event.preventDefault(); // the dialog below stays
    close();
  };
  /** @param {Choice["act"]} act */
  const choose = (act) => () => {
    close();
    return act();
  };
  menu.append(...items.map((item) => lineOf(item, choose)));
  menu.addEventListener("keydown", (event) => onKey(event, menu, close));
  addEventListener("pointerdown", onPress);
  addEventListener("keydown", onEscape, true);
  opened = { anchor, close };
  anchor.setAttribute("aria-expanded", "true");
  (anchor.closest("dialog") ?? byId("results")).append(menu);
  menu.showPopover();
  place(menu, anchor);
  itemsIn(menu)[0].focus();
}

/**
 * @param {Item} item
 * @param {(act: Choice["act"]) => () => unknown} choose
 */
function lineOf(item, choose) {
  if (!item) return h("hr", { role: "separator" });
  const { name, sign, act, choices } = item;
  /** @param {string} text @param {Choice["act"]} act @param {object} [more] */
  const entry = (text, act, more) =>
    button(text, trying(choose(act)), { role: "menuitem", ...more });
  if (act) {
    const line = entry("", act);
    line.append(icon(sign), h("span", {}, name));
    return line;
  }
  return h(
    "div",
    { class: "choices", role: "group", "aria-label": name },
    icon(sign),
    h("span", { "aria-hidden": "true" }, `${name}:`),
    ...(choices ?? []).map((one) =>
      entry(one.name, one.act, { "aria-label": `${name}: ${one.name}` }),
    ),
  );
}

/** @param {HTMLElement} menu */
const itemsIn = (menu) =>
  /** @type {HTMLElement[]} */ ([...menu.querySelectorAll("[role=menuitem]")]);

/**
 * Arrow keys walk around, letters go to the next item that begins with them.
 * @param {KeyboardEvent} event
 * @param {HTMLElement} menu
 * @param {() => void} close
 */
function onKey(event, menu, close) {
  const items = itemsIn(menu);
  const place = items.indexOf(/** @type {HTMLElement} */ (document.activeElement));
  const { key } = event;
  let next = -1;
  if (key === "ArrowDown" || key === "ArrowRight") next = (place + 1) % items.length;
  else if (key === "ArrowUp" || key === "ArrowLeft") next = (place || items.length) - 1;
  else if (key === "Home") next = 0;
  else if (key === "End") next = items.length - 1;
  else if (key === "Tab") close();
  else if (/^\p{L}$/u.test(key)) {
    const letter = key.toLowerCase(); // Caps Lock may be on
    const after = [...items.slice(place + 1), ...items.slice(0, place + 1)];
    const found = after.find((item) => item.textContent?.toLowerCase().startsWith(letter));
    next = found ? items.indexOf(found) : -1;
  } else return;
  event.preventDefault();
  event.stopPropagation();
  items[next]?.focus();
}

/**
 * Below the anchor, else above it, and within the window.
 * @param {HTMLElement} menu
 * @param {HTMLElement} anchor
 */
function place(menu, anchor) {
  const at = anchor.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = menu;
  const below = at.bottom + GAP;
  const above = at.top - GAP - height;
  const top = below + height <= innerHeight || above < 0 ? below : above;
  menu.style.top = `${Math.max(GAP, Math.min(top, innerHeight - height - GAP))}px`;
  menu.style.left = `${Math.max(GAP, Math.min(at.right - width, innerWidth - width - GAP))}px`;
}
