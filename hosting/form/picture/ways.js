// The ways by which a picture comes into its field: a file, a camera, a URL, an example.

import { acting, button, h } from "../page/dom.js";
import { ACCEPTED } from "./picture.js";

/**
 * @typedef {object} Ways
 * @property {HTMLElement[]} elements
 * @property {(isOpen: boolean) => void} show
 * @property {() => void} focus
 * @property {() => void} pick  has the person choose a file.
 */

/**
 * The ways into a field.
 * @param {string} id: of the field's first button.
 * @param {string} title: what is chosen.
 * @param {object} more
 * @param {(file: File) => unknown} more.take
 * @param {(url: string) => Promise<boolean>} more.load: tells whether it is a picture.
 * @param {() => unknown} [more.paint]: for a mask, which is painted more often than it is a file.
 * @param {HTMLElement} [more.examples]
 * @returns {Ways}
 */
export function makeWays(id, title, { take, load, paint, examples }) {
  const described = `${id}-hint ${id}-fault`;
  const file = filePicker(take, null);
  const camera = filePicker(take, "environment");
  const choose = button(`Choose a ${title}`, () => file.click(), {
    id,
    "aria-describedby": described,
  });
  const fromUrl = addressOf(id, title, load);
  if (examples) examples.hidden = true;
  const drop = h(
    "div",
    { class: "drop" },
    paint ? button("Paint on the image", paint) : null,
    choose,
    h("span", { class: "hint" }, paint ? "" : "or drop or paste one anywhere"),
    h(
      "div",
      { class: "ways" },
      paint ? null : toggle("From a URL", fromUrl),
      paint ? null : button("Camera", () => camera.click(), { class: "quiet touch-only" }),
      examples ? toggle("Examples", examples) : null,
    ),
  );
  return {
    elements: [drop, fromUrl, ...(examples ? [examples] : []), file, camera],
    show(isOpen) {
      drop.hidden = !isOpen;
      if (isOpen) return;
      for (const one of drop.querySelectorAll("[aria-expanded]"))
        one.setAttribute("aria-expanded", "false");
      fromUrl.hidden = true;
      if (examples) examples.hidden = true;
    },
    focus: () => choose.focus(),
    pick: () => file.click(),
  };
}

/**
 * @param {(file: File) => unknown} take
 * @param {string?} capture: which camera.
 */
function filePicker(take, capture) {
  const picker = h("input", {
    type: "file",
    accept: ACCEPTED,
    capture,
    class: "unseen",
    tabindex: -1,
    "aria-hidden": "true",
  });
  picker.addEventListener("change", () => {
    const chosen = picker.files?.[0];
    picker.value = "";
    if (chosen) take(chosen);
  });
  return picker;
}

/**
 * @param {string} id
 * @param {string} title
 * @param {(url: string) => Promise<boolean>} load
 */
function addressOf(id, title, load) {
  const address = h("input", {
    type: "url",
    placeholder: "https://…",
    "aria-label": `URL of the ${title}`,
    "aria-describedby": `${id}-fault`,
  });
  const go = acting(async () => {
    if (await load(address.value.trim())) address.value = "";
  });
  address.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    go();
  });
  return h("div", { class: "pair", hidden: true }, address, button("Load", go));
}

/**
 * @param {string} text
 * @param {HTMLElement} shown
 */
const toggle = (text, shown) =>
  button(
    text,
    (event) => {
      shown.hidden = !shown.hidden;
      event.target.setAttribute("aria-expanded", !shown.hidden);
    },
    { class: "quiet", "aria-expanded": "false" },
  );
