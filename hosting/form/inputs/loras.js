// The field of the LoRAs: what the model has to choose from, and what is chosen, with its weights.

import { announce, h } from "../page/dom.js";
import { makeOffers } from "./lora-offers.js";
import { MOST, makeRows } from "./lora-rows.js";

/**
 * A LoRA of a model.
 * @typedef {object} Lora
 * @property {string} name
 * @property {string} hash  of its file.
 * @property {string?} trigger  the word that it listens to; null where nobody knows one.
 * @property {string?} reason  why it can't be used with the model; null where it can.
 */
/**
 * @typedef {import("./fields.js").Field & {offer: (loras: Lora[]?) => void}} LoraField  to `offer`
 *   is to say what the model has; null where nobody knows.
 */

/**
 * The field.
 * @param {import("./schema.js").Input} input
 * @param {() => void} changed: called when the person changes it.
 * @param {(trigger: string) => void} write: puts a trigger word into the prompt.
 * @returns {LoraField}
 */
export function makeLoraField({ name, label }, changed, write) {
  /** @type {Lora[]?} */
  let offered = null;
  const fault = h("p", { class: "fault", id: `input-${name}-fault` });
  const offers = makeOffers(label, toggle);
  const rows = makeRows(label, {
    faultId: fault.id,
    offered: () => offered,
    write,
    changed() {
      field.say("");
      changed();
    },
    check() {
      try {
        field.get();
      } catch (error) {
        field.say(error.message);
      }
    },
    remove(lora) {
      toggle(lora);
      field.focus();
    },
  });
  const element = drawn(name, label, [...offers.elements, rows.element, fault]);

  /** Shows what is chosen, and what may be. */
  function show() {
    element.hidden = !offered?.length && !rows.count();
    offers.show(rows.has);
    rows.show();
  }

  /** @param {string} lora: its name. */
  function toggle(lora) {
    const isRefused = !rows.has(lora) && rows.count() >= MOST;
    field.say(isRefused ? `No more than ${MOST} can be used at once.` : "");
    if (isRefused) announce(fault.textContent);
    else if (rows.has(lora)) rows.take(lora);
    else {
      rows.put(lora);
      announce(`${lora} is chosen`);
    }
    show();
    changed();
  }

  /** @type {LoraField} */
  const field = {
    element,
    get() {
      const chosen = rows.get();
      return chosen.length ? chosen : null;
    },
    kept: () => (rows.count() ? rows.kept() : null),
    set(value) {
      rows.fill(value);
      field.say("");
      show();
    },
    say(text) {
      fault.textContent = text;
      (element.querySelector('.loras > :has([aria-invalid="true"])') ?? element).append(fault);
    },
    focus: () => focusIn(element),
    offer(loras) {
      if (JSON.stringify(loras) === JSON.stringify(offered)) return; // the focus may be in it
      offered = loras;
      offers.offer(loras ?? []);
      show();
    },
  };
  field.set(null);
  return field;
}

/**
 * @param {string} name
 * @param {string} label
 * @param {HTMLElement[]} parts: the last of them says what is wrong.
 */
function drawn(name, label, parts) {
  const id = `input-${name}`;
  return h(
    "div",
    {
      class: "field",
      "data-name": name,
      role: "group",
      "aria-labelledby": id,
      "aria-describedby": `${id}-fault`,
    },
    h("span", { class: "label", id }, label),
    ...parts,
  );
}

/** @param {HTMLElement} element: the field. */
function focusIn(element) {
  const places = ['[aria-invalid="true"]', ".chips button:enabled", ".loras button"];
  /** @type {(HTMLElement | null)[]} */
  const found = places.map((place) => element.querySelector(place));
  found.find(Boolean)?.focus();
}
