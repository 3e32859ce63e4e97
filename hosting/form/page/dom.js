// Elements, and what the page says to those who don't see it.

/** @typedef {Record<string, any>} Properties */
/** @typedef {(event: any) => unknown} Listener  what it returns may be a promise. */

/**
 * An element.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Properties} properties `on…` are listeners, true is an attribute without a value, false none.
 * @param {...(Node|string|null)} children
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value != null)
      element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/**
 * The elements of the page that are more than any element.
 * @typedef {object} Elements
 * @property {HTMLDetailsElement} advanced
 * @property {HTMLSelectElement} model
 * @property {HTMLButtonElement} run
 * @property {HTMLInputElement} search
 * @property {HTMLDialogElement} token
 * @property {HTMLInputElement} token-text
 */

/**
 * The element of an id.
 * @template {string} Id
 * @param {Id} id
 * @returns {Id extends keyof Elements ? Elements[Id] : HTMLElement}
 */
export const byId = (id) => /** @type {any} */ (document.getElementById(id));

/**
 * A button that is no submit button.
 * @param {string} text
 * @param {Listener} onclick
 * @param {Properties} properties
 */
export const button = (text, onclick, properties = {}) =>
  h("button", { type: "button", onclick: acting(onclick), ...properties }, text);

/**
 * What is drawn with on a canvas.
 * @template {HTMLCanvasElement | OffscreenCanvas} Canvas
 * @param {Canvas} canvas
 * @param {CanvasRenderingContext2DSettings} [options]
 * @returns {Canvas extends HTMLCanvasElement
 *   ? CanvasRenderingContext2D : OffscreenCanvasRenderingContext2D}
 */
export function contextOf(canvas, options) {
  const context = canvas.getContext("2d", options);
  if (!context) throw new Error("This browser can't draw on a canvas.");
  return /** @type {any} */ (context);
}

/**
 * Says what went wrong, or nothing, above the button that runs.
 * @param {string} text
 */
export function say(text) {
  byId("fault").textContent = text;
}

/**
 * A listener whose failure is said.
 * @param {Listener} listener
 * @returns {(event?: any) => Promise<void>}
 */
export const acting = (listener) => async (event) => {
  try {
    await listener(event);
  } catch (error) {
    const text = faultOf(error);
    say(text);
    announce(text);
  }
};

/**
 * Work that is done one after another: each call begins when the one before is over.
 * @param {() => Promise<void>} work
 */
export function inTurn(work) {
  let last = Promise.resolve();
  return () => {
    last = last.catch(() => {}).then(work); // who made that call has heard of its failure
    return last;
  };
}

/**
 * What went wrong, in words for the person.
 * @param {Error} error
 */
export const faultOf = ({ message }) =>
  /dynamically imported|module script/i.test(message) // in Chromium and Firefox, and in Safari
    ? "A part of this page could not be loaded. Reload the page and try again."
    : message;

/**
 * Tells screen readers what happened elsewhere: in the dialog that is open, as they hear no other.
 * @param {string} text
 */
export function announce(text) {
  const open = document.querySelector("dialog[open] [role=status]");
  (open ?? byId("announcer")).textContent = text;
}

/**
 * Copies a text.
 * @param {string} text
 */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Browsers give no clipboard to pages that come by plain http from elsewhere.
    const area = h("textarea", { class: "unseen" });
    const focused = /** @type {HTMLElement?} */ (document.activeElement);
    area.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.select();
    const isCopied = document.execCommand("copy");
    area.remove();
    focused?.focus({ preventScroll: true });
    if (!isCopied) throw new Error("The browser does not let this page copy anything.");
  }
}

/**
 * The same; says so on the button that was pressed, which has nothing but words.
 * @param {string} text
 * @param {HTMLElement} pressed
 */
export async function copy(text, pressed) {
  const before = pressed.textContent;
  if (before === "Copied") return;
  await copyText(text);
  pressed.textContent = "Copied";
  announce("Copied");
  setTimeout(() => {
    pressed.textContent = before;
  }, 1500);
}

/**
 * Has the browser save a file.
 * @param {Blob} blob
 * @param {string} name
 */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

/**
 * Waits.
 * @param {number} milliseconds
 * @returns {Promise<void>}
 */
export const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/**
 * Has an element have these children in this order. Those that stay are not moved: they keep the
 * focus and where they are scrolled to.
 * @param {Element} parent
 * @param {Element[]} children
 */
export function arrangeChildren(parent, children) {
  const staying = new Set(children);
  for (const child of [...parent.children]) if (!staying.has(child)) child.remove();
  for (const [place, child] of children.entries())
    if (parent.children[place] !== child)
      parent.insertBefore(child, parent.children[place] ?? null);
}
