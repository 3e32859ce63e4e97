// Styles: named pieces of a prompt and a negative prompt that people save, to use them again.

import { openDialog } from "../page/dialogs.js";
import { announce, button, h } from "../page/dom.js";
import { replaceText } from "./earlier.js";
import { keepText } from "./kept.js";

const KEY = "styles";
/** Where a style has the prompt in its middle. */
const PLACE = "{prompt}";

/**
 * @typedef {object} Style
 * @property {string} name
 * @property {string} prompt  what is added to it; or all of it, with `{prompt}` for what is there.
 * @property {string} negative  likewise.
 */
/** @typedef {{prompt: HTMLTextAreaElement, negative: HTMLTextAreaElement?}} Areas */

/** @returns {Style[]} */
function kept() {
  try {
    return [JSON.parse(localStorage.getItem(KEY) ?? "[]")].flat();
  } catch {
    return [];
  }
}

/**
 * @param {Style[]} styles
 * @returns {boolean} whether there is room for them.
 */
const keep = (styles) => keepText(KEY, JSON.stringify(styles));

/**
 * A text with a piece added to it, once.
 * @param {string} text
 * @param {string} piece
 */
function withPiece(text, piece) {
  const old = text.trim();
  const place = piece.indexOf(PLACE);
  if (place >= 0) {
    const [before, after] = [piece.slice(0, place), piece.slice(place + PLACE.length)];
    const isThere = old.startsWith(before.trimStart()) && old.endsWith(after.trimEnd());
    const isLong = old.length >= before.length + after.length;
    return isThere && isLong ? text : before + old + after;
  }
  const parts = partsOf(text);
  if (partsOf(piece).every((part) => parts.includes(part))) return text;
  return old ? `${old.replace(/,$/, "")}, ${piece}` : piece;
}

/** @param {string} text */
const partsOf = (text) =>
  text
    .split(",")
    .map((part) => part.trim())
    .filter(Boolean);

/**
 * Has the person use, save and delete styles.
 * @param {Areas} areas
 */
export function openStyles(areas) {
  const list = h("ul", { class: "rows" });
  const none = h("p", { class: "hint" }, "Nothing is saved yet.");
  const close = h(
    "p",
    { class: "buttons" },
    button("Close", () => dialog.close()),
  );

  /** @param {Style} style */
  function use({ name, prompt, negative }) {
    dialog.close();
    replaceText(areas.prompt, withPiece(areas.prompt.value, prompt));
    if (areas.negative && negative)
      replaceText(areas.negative, withPiece(areas.negative.value, negative));
    areas.prompt.focus();
    announce(`The style ${name} is in the prompt`);
  }

  function show() {
    const styles = kept();
    list.replaceChildren(...styles.map((style) => rowOf(style, use)));
    list.hidden = !styles.length;
    none.hidden = styles.length > 0;
  }

  show();
  /** @type {HTMLDialogElement} */
  const dialog = openDialog("styles", "Styles", none, list, saving(areas, show), close);
}

/**
 * @param {Style} style
 * @param {(style: Style) => void} use
 */
function rowOf(style, use) {
  const apply = button(style.name, () => use(style), { dir: "auto" });
  apply.append(
    h("span", { class: "hint" }, [style.prompt, style.negative].filter(Boolean).join(" · ")),
  );
  const others = () => kept().filter(({ name }) => name !== style.name);
  const remove = button("Delete", removed, {
    class: "quiet",
    "aria-label": `Delete ${style.name}`,
  });
  const row = h("li", {}, apply, remove);

  function removed() {
    const place = kept().findIndex(({ name }) => name === style.name);
    keep(others());
    const undo = button("Undo", () => {
      keep(others().toSpliced(place, 0, style));
      row.replaceChildren(apply, remove);
      remove.focus();
    });
    row.replaceChildren(h("span", { class: "hint" }, `${style.name} is deleted.`), undo);
    undo.focus();
  }
  return row;
}

/**
 * What saves a style.
 * @param {Areas} areas
 * @param {() => void} saved
 */
function saving({ prompt, negative }, saved) {
  const name = h("input", { id: "style-name", required: true, maxlength: 60, autocomplete: "off" });
  const piece = h("textarea", { id: "style-prompt", rows: 2, dir: "auto" });
  const other = h("textarea", { id: "style-negative", rows: 1, dir: "auto" });
  const fault = h("p", { class: "fault", role: "alert" });
  piece.value = prompt.value;
  other.value = negative?.value ?? "";
  const form = h(
    "form",
    { class: "saving" },
    h("h3", {}, "Save one"),
    h("label", { for: name.id }, "Name"),
    name,
    h("label", { for: piece.id }, `Add to the prompt, or write ${PLACE} where it belongs`),
    piece,
    negative ? h("label", { for: other.id }, "Add to the negative prompt") : null,
    negative ? other : null,
    fault,
    h("p", { class: "buttons" }, h("button", { class: "primary" }, "Save")),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const style = {
      name: name.value.trim(),
      prompt: piece.value.trim(),
      negative: other.value.trim(),
    };
    if (!style.name) return name.focus();
    const isKept = keep([...kept().filter((one) => one.name !== style.name), style]);
    fault.textContent = isKept ? "" : "This browser has no room for it: delete another style.";
    if (!isKept) return;
    announce(`${style.name} is saved`);
    saved();
    name.value = "";
  });
  return form;
}
