// The LoRAs that are chosen, as rows: each with its weight, what is wrong with it, its trigger word.

import { announce, button, h } from "../page/dom.js";

/** LoRAs that a request may have. */
export const MOST = 8;
/** Weights go from minus this to this. */
const LARGEST = 2;

/** @typedef {import("./loras.js").Lora} Lora */
/**
 * One that is chosen, as a row.
 * @typedef {object} Row
 * @property {HTMLElement} element
 * @property {() => string} get  as the model takes it; throws a sentence for what is wrong.
 * @property {() => string} kept  as it stands there, for `set`.
 * @property {() => void} show  what is known of the LoRA now.
 */
/**
 * The field around the rows.
 * @typedef {object} Around
 * @property {string} faultId  of what is said of a weight.
 * @property {() => Lora[]?} offered
 * @property {() => void} changed
 * @property {() => void} check
 * @property {(trigger: string) => void} write
 * @property {(lora: string) => void} remove
 */

/**
 * The rows.
 * @param {string} label
 * @param {Around} around
 */
export function makeRows(label, around) {
  const rows = /** @type {Map<string, Row>} */ (new Map());
  const element = h("ul", { class: "loras", "aria-label": `${label} in use` });

  /**
   * @param {string} lora
   * @param {string} weight
   * @param {string} hash: the first digits of that of its file then; empty where nobody knows.
   */
  function put(lora, weight = "1", hash = "") {
    const row = makeRow(lora, weight, hash, around);
    rows.set(lora, row);
    element.append(row.element);
  }

  return {
    element,
    put,
    /** @param {string} lora */
    has: (lora) => rows.has(lora),
    count: () => rows.size,
    /** @param {string} lora */
    take(lora) {
      rows.get(lora)?.element.remove();
      rows.delete(lora);
      announce(`${lora} is removed`);
    },
    get: () => [...rows.values()].map((row) => row.get()),
    kept: () => [...rows.values()].map((row) => row.kept()),
    /** @param {unknown} value: a picture's file may have anything here. */
    fill(value) {
      rows.clear();
      element.replaceChildren();
      for (const text of Array.isArray(value) ? value : []) {
        if (typeof text !== "string") continue;
        const [, lora = "", hash, weight] = /^([^@:]*)(?:@([^:]*))?(?::(.*))?$/s.exec(text) ?? [];
        if (lora && !rows.has(lora) && rows.size < MOST) put(lora, weight, hash);
      }
    },
    /** Shows what is known of them now. */
    show() {
      element.hidden = !rows.size;
      for (const row of rows.values()) row.show();
    },
  };
}

/** @param {string} text: as it was written. */
const numberIn = (text) => Number(text.trim().replace(",", ".") || Number.NaN);

/** Rows that were made: each has an id. */
let made = 0;

/**
 * @param {string} name
 * @param {string} weight: as it was written.
 * @param {string} hash: as of `put`.
 * @param {Around} around
 * @returns {Row}
 */
function makeRow(name, weight, hash, around) {
  const state = h("p", { class: "fault", id: `lora-${++made}-state` });
  const weighing = makeWeight(name, weight, state.id, around);
  const trigger = button("", () => around.write(trigger.value), { dir: "auto" });
  const word = h("div", { class: "chips" }, h("span", { class: "hint" }, "Trigger:"), trigger);
  const named = hash ? `${name}@${hash}` : name;
  return {
    element: h(
      "li",
      {},
      h("b", { class: "name", dir: "auto" }, name),
      button("Remove", () => around.remove(name), {
        class: "quiet",
        "aria-label": `Remove ${name}`,
      }),
      state,
      weighing.element,
      word,
    ),
    get() {
      const value = weighing.get();
      return value === 1 ? name : `${name}:${value}`;
    },
    kept: () => `${named}:${weighing.text()}`,
    show() {
      const offered = around.offered();
      const lora = offered?.find((one) => one.name === name);
      trigger.value = lora?.trigger ?? "";
      trigger.textContent = trigger.value;
      word.hidden = !trigger.value;
      if (lora?.reason) state.textContent = `It can't be used: ${lora.reason}`;
      else if (offered && !lora) state.textContent = "This model has no LoRA of this name.";
      else if (lora && !lora.hash.startsWith(hash.toLowerCase()))
        state.textContent = "This file has changed since.";
      else state.textContent = "";
    },
  };
}

/**
 * The weight of a LoRA: a number and a slider.
 * @param {string} name
 * @param {string} weight: as it was written.
 * @param {string} stateId: of what is known of the LoRA.
 * @param {Around} around
 */
function makeWeight(name, weight, stateId, { faultId, changed, check }) {
  const label = `Weight of ${name}`;
  const number = h("input", { class: "number", autocomplete: "off", "aria-label": label });
  const slider = h("input", {
    type: "range",
    min: -LARGEST,
    max: LARGEST,
    step: 0.05,
    tabindex: -1, // the number beside it is the keyboard's way
    "aria-label": `${label}, slider`,
  });
  /** @param {boolean} isRight: what is written. */
  const mark = (isRight) => {
    number.setAttribute("aria-invalid", String(!isRight));
    number.setAttribute("aria-describedby", isRight ? stateId : `${stateId} ${faultId}`);
  };
  mark(true);
  number.value = slider.value = weight;
  number.addEventListener("input", () => {
    slider.value = String(numberIn(number.value));
    mark(true);
    changed();
  });
  number.addEventListener("change", check);
  slider.addEventListener("input", () => {
    number.value = slider.value;
    mark(true);
    changed();
  });
  return {
    element: h("div", { class: "pair" }, slider, number),
    text: () => number.value,
    get() {
      const value = numberIn(number.value);
      const isRight = Math.abs(value) <= LARGEST;
      mark(isRight);
      if (!isRight) throw new Error(`Enter a weight from -${LARGEST} to ${LARGEST} for ${name}.`);
      return Number(value.toFixed(6)); // without an exponent
    },
  };
}
