// The field of the LoRAs: what the model has to choose from, and what is chosen, with its weights.

import { announce, button, h } from "../page/dom.js";

/** LoRAs that a request may have. */
const MOST = 8;
/** Weights go from minus this to this. */
const LARGEST = 2;
/** LoRAs beyond which they can be searched. */
const MANY = 12;

/**
 * A LoRA of a model.
 * @typedef {object} Lora
 * @property {string} name
 * @property {string} hash  of its file.
 * @property {string?} trigger  the word that it listens to; null where nobody knows one.
 * @property {string?} reason  why it can't be used with the model; null where it can.
 */
/**
 * One that is chosen, as a row.
 * @typedef {object} Row
 * @property {HTMLElement} element
 * @property {() => string} get  as the model takes it; throws a sentence for what is wrong.
 * @property {() => string} kept  as it stands there, for `set`.
 * @property {() => void} show  what is known of the LoRA now.
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
  const id = `input-${name}`;
  /** @type {Lora[]?} */
  let offered = null;
  const rows = /** @type {Map<string, Row>} */ (new Map());
  const list = h("ul", { class: "loras", "aria-label": `${label} in use` });
  const offers = h("ul", { class: "chips" });
  const finding = `Find one of the ${label}`;
  const search = h("input", { type: "search", "aria-label": finding, placeholder: finding });
  const fault = h("p", { class: "fault", id: `${id}-fault` });
  const element = h(
    "div",
    {
      class: "field",
      "data-name": name,
      role: "group",
      "aria-labelledby": id,
      "aria-describedby": fault.id,
    },
    h("span", { class: "label", id }, label),
    search,
    offers,
    list,
    fault,
  );
  const find = () => {
    const wanted = search.hidden ? "" : search.value.trim().toLowerCase();
    for (const one of offers.children)
      one.toggleAttribute("hidden", !one.textContent?.toLowerCase().includes(wanted));
  };
  search.addEventListener("input", find);
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter") event.preventDefault(); // it would run the form
  });

  /** Shows what is chosen, and what may be. */
  function show() {
    element.hidden = !offered?.length && !rows.size;
    list.hidden = !rows.size;
    for (const one of offers.querySelectorAll("button"))
      if (!one.disabled) one.setAttribute("aria-pressed", String(rows.has(one.value)));
    for (const row of rows.values()) row.show();
  }

  /** @param {string} lora: its name. */
  function toggle(lora) {
    field.say("");
    if (rows.has(lora)) {
      take(lora);
    } else if (rows.size < MOST) {
      put(lora);
      announce(`${lora} is chosen`);
    } else {
      field.say(`No more than ${MOST} can be used at once.`);
      announce(fault.textContent);
    }
    show();
    changed();
  }

  /** @param {string} lora */
  function take(lora) {
    rows.get(lora)?.element.remove();
    rows.delete(lora);
    announce(`${lora} is removed`);
  }

  /**
   * @param {string} lora
   * @param {string} weight
   * @param {string} hash: the first digits of that of its file then; empty where nobody knows.
   */
  function put(lora, weight = "1", hash = "") {
    const row = makeRow(lora, weight, hash, {
      faultId: fault.id,
      offered: () => offered,
      changed() {
        field.say("");
        changed();
      },
      check,
      write,
      remove() {
        toggle(lora);
        field.focus();
      },
    });
    rows.set(lora, row);
    list.append(row.element);
  }

  function check() {
    try {
      field.get();
    } catch (error) {
      field.say(error.message);
    }
  }

  /** @type {LoraField} */
  const field = {
    element,
    get() {
      const chosen = [...rows.values()].map((row) => row.get());
      return chosen.length ? chosen : null;
    },
    kept: () => (rows.size ? [...rows.values()].map((row) => row.kept()) : null),
    set(value) {
      rows.clear();
      list.replaceChildren();
      // A picture's file may have anything here.
      for (const text of Array.isArray(value) ? value : []) {
        if (typeof text !== "string") continue;
        const [, lora = "", hash, weight] = /^([^@:]*)(?:@([^:]*))?(?::(.*))?$/s.exec(text) ?? [];
        if (lora && !rows.has(lora) && rows.size < MOST) put(lora, weight, hash);
      }
      field.say("");
      show();
    },
    say(text) {
      fault.textContent = text;
      (element.querySelector('.loras > :has([aria-invalid="true"])') ?? element).append(fault);
    },
    focus() {
      const places = ['[aria-invalid="true"]', ".chips button:enabled", ".loras button"];
      /** @type {(HTMLElement | null)[]} */
      const found = places.map((place) => element.querySelector(place));
      found.find(Boolean)?.focus();
    },
    offer(loras) {
      if (JSON.stringify(loras) === JSON.stringify(offered)) return; // the focus may be in it
      offered = loras;
      // Those that can't be used come last.
      const sorted = [...(loras ?? [])].sort((a, b) => Number(!!a.reason) - Number(!!b.reason));
      offers.replaceChildren(...sorted.map((lora) => offerOf(lora, toggle)));
      offers.hidden = !sorted.length;
      search.hidden = sorted.length <= MANY;
      find();
      show();
    },
  };
  field.set(null);
  return field;
}

/**
 * @param {Lora} lora
 * @param {(name: string) => void} toggle
 */
const offerOf = ({ name, reason }, toggle) =>
  h(
    "li",
    {},
    button(name, () => toggle(name), { value: name, disabled: Boolean(reason), dir: "auto" }),
    reason ? h("span", { class: "hint" }, reason) : null,
  );

/** @param {string} text: as it was written. */
const numberIn = (text) => Number(text.trim().replace(",", ".") || Number.NaN);

/** Rows that were made: each has an id. */
let made = 0;

/**
 * @param {string} name
 * @param {string} weight: as it was written.
 * @param {string} hash: as of `put`.
 * @param {object} field
 * @param {string} field.faultId: of what is said of a weight.
 * @param {() => Lora[]?} field.offered
 * @param {() => void} field.changed
 * @param {() => void} field.check
 * @param {(trigger: string) => void} field.write
 * @param {() => void} field.remove
 * @returns {Row}
 */
function makeRow(name, weight, hash, { faultId, offered, changed, check, write, remove }) {
  const state = h("p", { class: "fault", id: `lora-${++made}-state` });
  const number = h("input", {
    class: "number",
    autocomplete: "off",
    "aria-label": `Weight of ${name}`,
  });
  const slider = h("input", {
    type: "range",
    min: -LARGEST,
    max: LARGEST,
    step: 0.05,
    tabindex: -1, // the number beside it is the keyboard's way
    "aria-label": `Weight of ${name}, slider`,
  });
  /** @param {boolean} isRight: what is written. */
  const mark = (isRight) => {
    number.setAttribute("aria-invalid", String(!isRight));
    number.setAttribute("aria-describedby", isRight ? state.id : `${state.id} ${faultId}`);
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
  const trigger = button("", () => write(trigger.value), { dir: "auto" });
  const word = h("div", { class: "chips" }, h("span", { class: "hint" }, "Trigger:"), trigger);
  return {
    element: h(
      "li",
      {},
      h("b", { class: "name", dir: "auto" }, name),
      button("Remove", remove, { class: "quiet", "aria-label": `Remove ${name}` }),
      state,
      h("div", { class: "pair" }, slider, number),
      word,
    ),
    get() {
      const value = numberIn(number.value);
      const isRight = Math.abs(value) <= LARGEST;
      mark(isRight);
      if (!isRight) throw new Error(`Enter a weight from -${LARGEST} to ${LARGEST} for ${name}.`);
      const plain = Number(value.toFixed(6)); // without an exponent
      return plain === 1 ? name : `${name}:${plain}`;
    },
    kept: () => `${name}${hash && `@${hash}`}:${number.value}`,
    show() {
      const lora = offered()?.find((one) => one.name === name);
      trigger.value = lora?.trigger ?? "";
      trigger.textContent = trigger.value;
      word.hidden = !trigger.value;
      if (lora?.reason) state.textContent = `It can't be used: ${lora.reason}`;
      else if (offered() && !lora) state.textContent = "This model has no LoRA of this name.";
      else if (lora && !lora.hash.startsWith(hash.toLowerCase()))
        state.textContent = "This file has changed since.";
      else state.textContent = "";
    },
  };
}
