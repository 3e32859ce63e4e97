// A field for each input that is no file, drawn from what the schema says of it.

import { h } from "./dom.js";

/** A slider beside the number, where the bounds are close enough for one to be of use. */
const LONGEST_SLIDER = 1000;

/** @typedef {import("./schema.js").Input} Input */
/** @typedef {import("./schema.js").Value} Value */
/** @typedef {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} Control */

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
  const described = `${id}-hint ${id}-fault`;
  const control = controlOf(input, id, described);
  const slider = sliderOf(input, control);
  const isSwitch = control instanceof HTMLInputElement && control.type === "checkbox";
  const label = h("label", { for: id }, input.label);
  const hint = h("p", { class: "hint", id: `${id}-hint` }, input.hint);
  const fault = h("p", { class: "fault", id: `${id}-fault` });
  const element = h(
    "div",
    { class: isSwitch ? "field switch" : "field", "data-name": input.name },
    ...(isSwitch
      ? [control, label, hint]
      : [label, hint, slider ? h("div", { class: "pair" }, slider, control) : control]),
    fault,
  );

  /** @type {Field} */
  const field = {
    element,
    get: () => read(input, control),
    set(value) {
      if (isSwitch) control.checked = Boolean(value ?? input.fallback);
      else control.value = String(value ?? input.fallback ?? "");
      if (slider) slider.value = control.value;
      field.say("");
    },
    say(text) {
      fault.textContent = text;
      control.setAttribute("aria-invalid", String(text !== ""));
    },
    focus: () => control.focus(),
  };
  control.addEventListener("input", () => {
    if (slider) slider.value = control.value;
    field.say("");
    changed();
  });
  control.addEventListener("change", () => {
    try {
      field.get();
    } catch (error) {
      field.say(error.message);
    }
  });
  slider?.addEventListener("input", () => {
    control.value = slider.value;
    field.say("");
    changed();
  });
  field.set(null);
  return field;
}

/**
 * @param {Input} input
 * @param {string} id
 * @param {string} described: ids of what describes it.
 * @returns {Control}
 */
function controlOf(input, id, described) {
  const common = { id, "aria-describedby": described, "aria-required": input.isRequired };
  if (input.choices) {
    const choices = input.choices.map((choice) => h("option", { value: choice }, String(choice)));
    if (input.fallback === null) choices.unshift(h("option", { value: "" }, input.unchosen));
    return h("select", common, ...choices);
  }
  if (input.type === "boolean") return h("input", { ...common, type: "checkbox", role: "switch" });
  if (input.type === "string")
    return h("textarea", { ...common, dir: "auto", rows: rowsOf(input) });
  return h("input", {
    ...common,
    // Not of type number: that hides from us what it does not understand.
    inputmode: input.type === "integer" ? "numeric" : "decimal",
    autocomplete: "off",
    placeholder: input.fallback !== null ? null : input.name === "seed" ? "random" : "automatic",
  });
}

/** @param {Input} input: of text. What may be empty is no prose, but a value. */
const rowsOf = ({ isRequired, fallback }) => (isRequired ? 3 : fallback === null ? 1 : 2);

/**
 * @param {Input} input
 * @param {Control} control
 */
function sliderOf({ type, minimum, maximum, fallback, label, choices }, control) {
  if (choices || fallback === null || minimum === undefined || maximum === undefined) return null;
  if (maximum - minimum > LONGEST_SLIDER) return null;
  const step = type === "integer" ? 1 : maximum - minimum > 5 ? 0.5 : 0.05;
  const slider = h("input", {
    type: "range",
    min: minimum,
    max: maximum,
    step,
    "aria-label": `${label}, slider`,
  });
  slider.tabIndex = -1; // the number beside it is the keyboard's way
  control.classList.add("number");
  return slider;
}

/**
 * What a control holds, as the schema wants it.
 * @param {Input} input
 * @param {Control} control
 * @returns {Value}
 */
function read(input, control) {
  const { type, minimum = -Infinity, maximum = Infinity, choices, isRequired, fallback } = input;
  if (control instanceof HTMLInputElement && control.type === "checkbox") return control.checked;
  if (type === "string" && !choices) {
    if (isRequired && !control.value.trim()) throw new Error("Write what you want to see.");
    return control.value || fallback;
  }
  if (control.value.trim() === "") {
    if (isRequired) throw new Error("This is needed.");
    return fallback;
  }
  if (choices) return choices.find((choice) => String(choice) === control.value) ?? null;
  const text = control.value.trim();
  const number = Number(type === "integer" ? text : text.replace(",", "."));
  const bounds = input.minimum === undefined ? "" : ` from ${minimum} to ${maximum}`;
  const isWhole = type !== "integer" || Number.isSafeInteger(number);
  if (!Number.isFinite(number) || !isWhole || number < minimum || number > maximum)
    throw new Error(`Give a ${type === "integer" ? "whole " : ""}number${bounds}.`);
  return number;
}
