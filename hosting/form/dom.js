// Elements, and what the page says to those who don't see it.

/**
 * An element.
 * @param {string} tag
 * @param {object} properties `on…` are listeners, true is an attribute without a value, false none.
 * @param {...(Node|string|null)} children
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** The element of an id. */
export const byId = (id) => document.getElementById(id);

/** A button that is no submit button. */
export const button = (text, onclick, properties = {}) =>
  h("button", { type: "button", onclick, ...properties }, text);

/** Tells screen readers what happened elsewhere on the page. */
export function announce(text) {
  byId("announcer").textContent = text;
}

/** Copies a text; says so on the button that was pressed. */
export async function copy(text, pressed) {
  const before = pressed.textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Browsers give no clipboard to pages that come by plain http from elsewhere.
    const area = h("textarea", { class: "unseen" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  pressed.textContent = "Copied";
  announce("Copied");
  setTimeout(() => (pressed.textContent = before), 1500);
}

/** Has the browser save a file. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = h("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

/** Waits. */
export const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
