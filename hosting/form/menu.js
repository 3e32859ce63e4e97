// A menu beside a button, by mouse, finger and keys.

import { acting, button, h } from "./dom.js";
import { icon } from "./icons.js";

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

/**
 * Opens a menu until something is chosen, or nothing is wanted.
 * @param {HTMLElement} anchor: has the focus again afterwards.
 * @param {Item[]} items
 */
export function openMenu(anchor, items) {
  const menu = h("div", { class: "menu", role: "menu", popover: "auto" });
  menu.setAttribute("aria-label", anchor.getAttribute("aria-label") ?? "Menu");
  /** @param {Choice["act"]} act */
  const choose = (act) => () => {
    menu.hidePopover();
    anchor.focus({ preventScroll: true });
    return act();
  };
  menu.append(...items.map((item) => lineOf(item, choose)));
  menu.addEventListener("keydown", (event) => onKey(event, menu));
  menu.addEventListener("toggle", ({ newState }) => {
    anchor.setAttribute("aria-expanded", String(newState === "open"));
    if (newState === "closed") menu.remove();
  });
  (anchor.closest("dialog") ?? document.body).append(menu);
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
    button(text, acting(choose(act)), { role: "menuitem", tabindex: -1, ...more });
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
 */
function onKey(event, menu) {
  const items = itemsIn(menu);
  const place = items.indexOf(/** @type {HTMLElement} */ (document.activeElement));
  const { key } = event;
  let next = -1;
  if (key === "ArrowDown" || key === "ArrowRight") next = (place + 1) % items.length;
  else if (key === "ArrowUp" || key === "ArrowLeft") next = (place || items.length) - 1;
  else if (key === "Home") next = 0;
  else if (key === "End") next = items.length - 1;
  else if (key === "Tab") return menu.hidePopover();
  else if (/^\p{L}$/u.test(key)) {
    const after = [...items.slice(place + 1), ...items.slice(0, place + 1)];
    const found = after.find((item) => item.textContent?.toLowerCase().startsWith(key));
    next = found ? items.indexOf(found) : -1;
  } else return undefined;
  event.preventDefault();
  event.stopPropagation();
  items[next]?.focus();
  return undefined;
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
