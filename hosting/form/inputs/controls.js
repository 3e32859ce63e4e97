// What an input is changed with: a text area, a list, a switch, or a number with a slider or buttons.

import { button, h } from "../page/dom.js";

/** Beyond so many numbers a slider is of no use. */
const LONGEST_SLIDER = 1000;

/** @typedef {import("./schema.js").Input} Input */

/**
 * A control; what it holds is a text, whatever it means.
 * @typedef {object} Control
 * @property {HTMLElement} element
 * @property {"plain" | "switch" | "line"} kind  a switch stands before its label; on a line are
 *   both beside each other.
 * @property {() => string} read
 * @property {(text: string) => void} write
 * @property {(isWrong: boolean) => void} mark
 * @property {() => void} focus
 */

/**
 * The control of an input that is no file.
 * @param {Input} input
 * @param {string} id: of the control.
 * @param {string} described: ids of what describes it.
 * @returns {Control}
 */
export function makeControl(input, id, described) {
  const common = { id, "aria-describedby": described, "aria-required": String(input.isRequired) };
  if (input.choices) return list(input, common);
  if (input.type === "boolean") return toggle(common);
  if (input.type === "string") return area(input, common);
  return number(input, common);
}

/**
 * @param {HTMLElement} element
 * @param {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} holder: of the text.
 * @returns {Control}
 */
const plain = (element, holder = /** @type {any} */ (element)) => ({
  element,
  kind: "plain",
  read: () => holder.value,
  write: (text) => {
    holder.value = text;
  },
  mark: (isWrong) => holder.setAttribute("aria-invalid", String(isWrong)),
  focus: () => holder.focus(),
});

/**
 * @param {Input} input
 * @param {import("../page/dom.js").Properties} common
 */
function list({ choices = [], fallback, unchosen }, common) {
  const options = choices.map((choice) => h("option", { value: choice }, String(choice)));
  if (fallback === null) options.unshift(h("option", { value: "" }, unchosen));
  return plain(h("select", common, ...options));
}

/**
 * @param {import("../page/dom.js").Properties} common
 * @returns {Control}
 */
function toggle(common) {
  const box = h("input", { ...common, type: "checkbox", role: "switch" });
  return {
    ...plain(box),
    kind: "switch",
    read: () => String(box.checked),
    write: (text) => {
      box.checked = text === "true";
    },
  };
}

/**
 * @param {Input} input: of text. What may be empty is no prose, but a value.
 * @param {import("../page/dom.js").Properties} common
 */
function area({ isRequired, fallback, placeholder }, common) {
  const rows = isRequired ? 3 : fallback === null ? 1 : 2;
  return plain(h("textarea", { ...common, dir: "auto", rows, placeholder }));
}

/**
 * @param {Input} input
 * @param {import("../page/dom.js").Properties} common
 * @returns {Control}
 */
function number(input, common) {
  const box = h("input", {
    ...common,
    // Not of type number: that hides from us what it does not understand.
    inputmode: input.type === "integer" ? "numeric" : "decimal",
    autocomplete: "off",
    placeholder: input.placeholder ?? (input.fallback === null ? "automatic" : null),
  });
  if (input.presets) return withPresets(box, input.presets, input.label);
  const slider = sliderOf(input);
  return slider ? withSlider(box, slider, String(input.fallback)) : plain(box);
}

/**
 * @param {HTMLInputElement} box
 * @param {HTMLInputElement} slider
 * @param {string} fallback: what an empty box means.
 * @returns {Control}
 */
function withSlider(box, slider, fallback) {
  const slide = () => {
    slider.value = box.value.trim().replace(",", ".") || fallback;
  };
  box.classList.add("number");
  box.addEventListener("input", slide);
  slider.addEventListener("input", () => {
    box.value = slider.value;
  });
  return {
    ...plain(h("div", { class: "pair" }, slider, box), box),
    write: (text) => {
      box.value = text;
      slide();
    },
  };
}

/**
 * @param {HTMLInputElement} box
 * @param {number[]} presets
 * @param {string} label
 * @returns {Control}
 */
function withPresets(box, presets, label) {
  box.classList.add("number");
  const buttons = presets.map((preset) =>
    button(String(preset), () => {
      box.value = String(preset);
      box.dispatchEvent(new Event("input", { bubbles: true }));
    }),
  );
  const show = () => {
    for (const one of buttons)
      one.setAttribute("aria-pressed", String(one.textContent === box.value.trim()));
  };
  box.addEventListener("input", show);
  const segments = h(
    "div",
    { class: "segments", role: "group", "aria-label": `${label}, quickly` },
    ...buttons,
  );
  return {
    ...plain(h("div", { class: "pair" }, segments, box), box),
    kind: "line",
    write: (text) => {
      box.value = text;
      show();
    },
  };
}

/** @param {Input} input */
function sliderOf({ type, minimum, maximum, fallback, label, longest }) {
  if (fallback === null || minimum === undefined || maximum === undefined) return null;
  const last = Math.min(maximum, longest ?? maximum);
  if (last - minimum > LONGEST_SLIDER) return null;
  return h("input", {
    type: "range",
    min: minimum,
    max: last,
    step: type === "integer" ? 1 : last - minimum > 5 ? 0.5 : 0.05,
    tabindex: -1, // the number beside it is the keyboard's way
    "aria-label": `${label}, slider`,
  });
}
