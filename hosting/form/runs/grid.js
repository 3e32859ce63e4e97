// A grid: the same picture by several values of one setting or of two, side by side.

import * as form from "../inputs/form.js";
import { openDialog } from "../page/dialogs.js";
import { button, h } from "../page/dom.js";
import { inputFrom } from "./runs.js";
import { begin } from "./strip.js";

/** @typedef {import("../inputs/schema.js").Input} Input */
/** @typedef {import("../inputs/schema.js").Value} Value */
/** @typedef {import("../gallery/predictions.js").Prediction} Prediction */
/** @typedef {Record<string, Value>} Values  by the names of inputs. */

/**
 * A setting and the values that it takes, one after the other.
 * @typedef {object} Axis
 * @property {Input} input
 * @property {Value[]} values
 */

const STRENGTHS = [0.3, 0.5, 0.7, 0.9];
/** Pictures of a grid. */
const MOST = 36;
/** Seeds that are drawn for a grid are below this. */
const SEEDS = 2 ** 32;
/** What makes no difference that is seen, or is one of several pictures. */
const LEFT_OUT = ["num_images", "output_format", "output_quality", "loras"];
/**
 * Values to begin with.
 * @type {Record<string, string>}
 */
const PROPOSED = {
  strength: STRENGTHS.join(", "),
  guidance_scale: "3, 5, 7.5, 12",
  num_inference_steps: "10, 20, 30, 50",
  seed: "1, 2, 3, 4",
  eta: "0, 0.5, 1",
  clip_skip: "0, 1, 2",
};

/** Draws what the form holds by several strengths. */
export async function tryStrengths() {
  const input = form.all().find(({ name }) => name === "strength");
  if (!input) throw new Error("This model has no strength.");
  await draw({ input, values: STRENGTHS }, null);
}

/**
 * Draws what the form holds by each value.
 * @param {Axis} across
 * @param {Axis?} down
 */
async function draw(across, down) {
  const model = form.modelOf();
  const collected = await form.collect();
  if (!model || !collected) return;
  /** @type {Values} */
  const input = { ...(await inputFrom(collected)), num_images: 1 };
  input.seed ??= Math.floor(Math.random() * SEEDS);
  const files = Object.keys(collected.files);
  const isSeedFixed = [across, down].every((axis) => axis?.input.name !== "seed");
  const axes = [across, down].filter((axis) => axis !== null);
  const cells = (down?.values ?? [null]).flatMap((low) =>
    across.values.map((value) => ({
      ...input,
      [across.input.name]: value,
      ...(down && { [down.input.name]: low }),
    })),
  );
  /** @param {Values} cell */
  const asked = (cell) => async (/** @type {Prediction?} */ first) => {
    // A file travels once: from then on its link does.
    const links = files.map((name) => [name, first ? first.input[name] : cell[name]]);
    return { ...cell, ...Object.fromEntries(links) };
  };
  const about = {
    title: `${axes.map((axis) => axis.input.label).join(" × ")}: ${input.prompt || "no prompt"}`,
    about: isSeedFixed ? `All with seed ${input.seed}` : "",
    columns: across.values.map((value) => worded(across.input, value)),
    rows: down ? down.values.map((value) => worded(down.input, value)) : [],
  };
  await begin(about, cells.map(asked), model);
}

/**
 * @param {Input} input
 * @param {Value} value
 */
function worded({ label, type }, value) {
  if (type === "string") return String(value).slice(0, 60);
  return `${label} ${typeof value === "boolean" ? (value ? "on" : "off") : (value ?? "automatic")}`;
}

/** Asks for a grid's settings and their values, and draws it. */
export function ask() {
  const inputs = form
    .all()
    .filter(({ name, isFile }) => !isFile && !LEFT_OUT.includes(name) && isShown(name));
  const isImage = inputs.some(({ name }) => name === "strength");
  const across = axisField("Across", inputs, isImage ? "strength" : "guidance_scale", false);
  const down = axisField("Down", inputs, isImage ? "guidance_scale" : "num_inference_steps", true);
  const fault = h("p", { class: "fault", role: "alert" });
  const draws = button("", drawn, { class: "primary" });
  const dialog = openDialog(
    "asking",
    "Compare settings",
    h("p", { class: "hint" }, "What the form holds is drawn with each value, side by side."),
    across.element,
    down.element,
    fault,
    h(
      "div",
      { class: "buttons" },
      button("Cancel", () => dialog.close()),
      draws,
    ),
  );

  function show() {
    let text = "Draw";
    try {
      const [x, y] = axesOf(across.get(), down.get());
      text = `Draw ${x.values.length * (y?.values.length ?? 1)} pictures`;
      fault.textContent = "";
    } catch (error) {
      fault.textContent = error.message;
    }
    draws.textContent = text;
  }

  async function drawn() {
    try {
      const [x, y] = axesOf(across.get(), down.get());
      dialog.close();
      await draw(x, y);
    } catch (error) {
      fault.textContent = error.message;
      if (!dialog.open) throw error;
    }
  }

  dialog.addEventListener("input", show);
  show();
}

/**
 * The axes of a grid, if they make one.
 * @param {Axis?} across
 * @param {Axis?} down
 * @returns {[Axis, Axis | null]} throws a sentence for what is wrong.
 */
function axesOf(across, down) {
  if (!across) throw new Error("Choose a setting to compare.");
  if (across.input === down?.input) throw new Error(`${across.input.label} is chosen twice.`);
  const count = across.values.length * (down?.values.length ?? 1);
  if (count > MOST) throw new Error(`That is ${count} pictures; a grid has at most ${MOST}.`);
  return [across, down];
}

/** @param {string} name: of an input. */
const isShown = (name) => !form.field(name)?.element.hidden;

/**
 * The fields of an axis: which setting, and which values.
 * @param {string} title
 * @param {Input[]} inputs
 * @param {string} proposed: the name of the setting to begin with.
 * @param {boolean} mayLack: whether there may be no such axis.
 */
function axisField(title, inputs, proposed, mayLack) {
  const id = `grid-${title.toLowerCase()}`;
  const setting = h(
    "select",
    { id },
    mayLack ? h("option", { value: "" }, "nothing") : null,
    ...inputs.map(({ name, label }) => h("option", { value: name }, label)),
  );
  if (inputs.some(({ name }) => name === proposed)) setting.value = proposed;
  const values = h("div", { class: "values" });
  const chosen = () => inputs.find(({ name }) => name === setting.value);
  const offer = () => {
    const input = chosen();
    values.replaceChildren(...(input ? valueFields(input, title) : []));
  };
  setting.addEventListener("input", offer);
  offer();
  return {
    element: h("div", { class: "axis" }, h("label", { for: id }, title), setting, values),
    /** @returns {Axis?} throws a sentence for what is wrong. */
    get() {
      const input = chosen();
      return input ? { input, values: valuesOf(input, values) } : null;
    },
  };
}

/** @param {Input} input */
const choicesOf = ({ choices, type }) => choices ?? (type === "boolean" ? ["off", "on"] : null);

/**
 * @param {Input} input
 * @param {string} axis
 */
function valueFields(input, axis) {
  const choices = choicesOf(input);
  const name = `Values of ${input.label}, ${axis.toLowerCase()}`;
  if (choices)
    return [
      h(
        "div",
        { class: "choices", role: "group", "aria-label": name },
        ...choices.map((value, place) =>
          h(
            "label",
            {},
            h("input", { type: "checkbox", value: place, checked: place < 3 }),
            ` ${value}`,
          ),
        ),
      ),
    ];
  const now = form.look().plain[input.name] ?? input.fallback ?? "";
  const isText = input.type === "string";
  const area = h("textarea", { "aria-label": name, dir: "auto", rows: isText ? 3 : 1 });
  area.value = isText ? String(now) : (PROPOSED[input.name] ?? proposed(input));
  const how = isText ? "One in each line" : "Separated by commas";
  return [area, h("p", { class: "hint" }, how)];
}

/** @param {Input} input: a number. */
function proposed({ minimum, maximum, fallback, type }) {
  const [low, high] = [minimum ?? 0, maximum ?? 1];
  const middle = (low + high) / 2;
  const values = [low, type === "integer" ? Math.round(middle) : middle, high];
  return [...new Set([...values, ...(fallback === null ? [] : [Number(fallback)])])]
    .sort((one, other) => one - other)
    .join(", ");
}

/**
 * The values that the person has given.
 * @param {Input} input
 * @param {HTMLElement} fields
 * @returns {Value[]} throws a sentence for what is wrong.
 */
function valuesOf(input, fields) {
  const choices = choicesOf(input);
  const area = fields.querySelector("textarea");
  /** @type {Value[]} */
  let values;
  if (choices) {
    const checked = [
      .../** @type {NodeListOf<HTMLInputElement>} */ (fields.querySelectorAll(":checked")),
    ];
    const places = checked.map(({ value }) => Number(value));
    values = places.map((place) => (input.choices ? input.choices[place] : place === 1));
  } else if (input.type === "string") {
    const lines = (area?.value ?? "").split("\n").map((line) => line.trim());
    values = lines.filter(Boolean);
  } else values = numbersOf(input, area?.value ?? "");
  if (!values.length) throw new Error(`${input.label}: give at least one value.`);
  return [...new Set(values)];
}

/**
 * @param {Input} input
 * @param {string} text
 */
function numbersOf({ label, minimum = -Infinity, maximum = Infinity, type }, text) {
  return text
    .split(/[\s,;]+/)
    .filter(Boolean)
    .map((word) => {
      const number = Number(word);
      const isWhole = type !== "integer" || Number.isSafeInteger(number);
      if (!Number.isFinite(number) || !isWhole)
        throw new Error(`${label}: ${word} is not a ${type === "integer" ? "whole " : ""}number.`);
      if (number < minimum || number > maximum)
        throw new Error(`${label}: ${word} is not from ${minimum} to ${maximum}.`);
      return number;
    });
}
