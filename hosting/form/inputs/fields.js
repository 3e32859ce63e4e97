// A field for each input that is no file, drawn from what the schema says of it.

import { h } from "../page/dom.js";
import { makeControl } from "./controls.js";

/** Characters of a text that the API takes. */
const LONGEST_TEXT = 100_000;

/** @typedef {import("./schema.js").Input} Input */
/** @typedef {import("./schema.js").Value} Value */
/** @typedef {import("./controls.js").Control} Control */

/**
 * The field of an input.
 * @typedef {object} Field
 * @property {HTMLElement} element
 * @property {() => Value} get  null for what is left empty; throws a sentence for what is wrong.
 * @property {() => Value} [kept]  what the browser keeps of it, also of what is wrong, for `set`;
 *   where there is none, what `get` returns.
 * @property {(value: Value | undefined) => void} set
 * @property {(text: string) => void} say  shows a fault, or takes it away.
 * @property {() => void} focus
 */

/**
 * A field.
 * @param {Input} input
 * @param {() => void} changed: called when the person changes it.
 * @returns {Field}
 */
export function makeField(input, changed) {
  const id = `input-${input.name}`;
  const control = makeControl(input, id, `${id}-hint ${id}-fault`);
  const fault = h("p", { class: "fault", id: `${id}-fault` });
  const element = drawn(input, id, control, fault);

  /** @type {Field} */
  const field = {
    element,
    get: () => valueIn(input, control.read()),
    set(value) {
      control.write(String(value ?? input.fallback ?? ""));
      field.say("");
    },
    say(text) {
      fault.textContent = text;
      control.mark(text !== "");
    },
    focus: control.focus,
  };
  control.element.addEventListener("input", () => {
    field.say("");
    changed();
  });
  control.element.addEventListener("change", () => {
    try {
      field.get();
    } catch (error) {
      field.say(error.message);
    }
  });
  field.set(null);
  return field;
}

/**
 * @param {Input} input
 * @param {string} id
 * @param {Control} control
 * @param {HTMLElement} fault
 */
function drawn({ name, label, hint, ends }, id, { element, kind }, fault) {
  const title = h("label", { for: id }, label);
  const said = ends
    ? h(
        "p",
        { class: "hint ends", id: `${id}-hint` },
        h("span", {}, ends[0]),
        h("span", { class: "unseen" }, " … "),
        h("span", {}, ends[1]),
      )
    : h("p", { class: "hint", id: `${id}-hint` }, hint);
  const parts = kind === "switch" ? [element, title, said] : [title, said, element];
  if (ends) parts.push(...parts.splice(1, 1)); // below the slider
  const classes = { plain: "field", switch: "field switch", line: "field line" };
  return h("div", { class: classes[kind], "data-name": name }, ...parts, fault);
}

/**
 * What a text means, as the schema wants it.
 * @param {Input} input
 * @param {string} text
 * @returns {Value}
 */
function valueIn(input, text) {
  const { type, choices, isRequired, fallback } = input;
  if (type === "boolean") return text === "true";
  if (type === "string" && !choices) {
    if (isRequired && !text.trim()) throw new Error("Write what you want to see.");
    const { length } = [...text];
    if (length > LONGEST_TEXT)
      throw new Error(`${inFull(length)} characters; at most ${inFull(LONGEST_TEXT)} are read.`);
    return text || fallback;
  }
  if (text.trim() === "") {
    if (isRequired) throw new Error("This is needed.");
    return fallback;
  }
  if (choices) return choices.find((choice) => String(choice) === text) ?? null;
  return numberOf(input, text.trim());
}

/** @param {number} count */
const inFull = (count) => count.toLocaleString("en");

/**
 * @param {Input} input
 * @param {string} text
 */
function numberOf({ type, minimum, maximum }, text) {
  const isWhole = type === "integer";
  const value = Number(isWhole ? text : text.replace(",", "."));
  const { min, max } = { min: minimum ?? -Infinity, max: maximum ?? Infinity };
  if (
    !(isWhole ? Number.isSafeInteger(value) : Number.isFinite(value)) ||
    value < min ||
    value > max
  ) {
    const bounds = minimum === undefined ? "" : ` from ${minimum} to ${maximum}`;
    throw new Error(`Enter a ${isWhole ? "whole " : ""}number${bounds}.`);
  }
  return value;
}
