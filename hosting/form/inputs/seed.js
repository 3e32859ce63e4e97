// The seed, beside the button that runs: random, or one that is kept until the person lets it go.

import { announce, button, h } from "../page/dom.js";
import { icon } from "../page/icons.js";
import { makeField } from "./fields.js";

/** @typedef {import("./fields.js").Field} Field */

/** As many seeds as the server draws from by itself. */
const randomSeed = () => crypto.getRandomValues(new Uint32Array(1))[0];

/**
 * The field of the seed.
 * @param {import("./schema.js").Input} input
 * @param {() => void} changed: called when the person changes it.
 * @returns {Field}
 */
export function makeSeedField(input, changed) {
  const field = makeField(input, () => {
    show();
    changed();
  });
  const [label, hint, box, fault] = field.element.children;
  const lock = h("span", { class: "lock" });
  lock.append(icon("lock"));
  const roll = button("", () => put(randomSeed()), withName("Keep a random seed"));
  roll.append(icon("dice"));
  const release = button("", () => put(null), withName("A new seed each time"));
  release.append(icon("cross"));
  field.element.classList.add("seed");
  field.element.replaceChildren(
    h("div", { class: "pill" }, lock, label, box, roll, release),
    hint,
    fault,
  );

  /** @param {number?} seed */
  function put(seed) {
    whole.set(seed);
    (seed === null ? roll : release).focus();
    announce(seed === null ? "The seed is random" : `The seed is ${seed} from now on`);
    changed();
  }

  /** Shows whether there is one. */
  function show() {
    const isKept = /** @type {HTMLInputElement} */ (box).value.trim() !== "";
    field.element.classList.toggle("kept", isKept);
    lock.hidden = release.hidden = !isKept;
    roll.hidden = isKept;
  }

  const whole = {
    ...field,
    /** @param {Parameters<Field["set"]>[0]} value */
    set(value) {
      field.set(value);
      show();
    },
  };
  show();
  return whole;
}

/** @param {string} name */
const withName = (name) => ({ class: "quiet", "aria-label": name, title: name });
