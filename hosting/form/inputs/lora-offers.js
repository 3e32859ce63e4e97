// The LoRAs that a model has, to be chosen from.

import { button, h } from "../page/dom.js";

/** LoRAs beyond which they can be searched. */
const MANY = 12;

/** @typedef {import("./loras.js").Lora} Lora */

/**
 * The choice.
 * @param {string} label
 * @param {(name: string) => void} toggle: takes one, or takes it away.
 */
export function makeOffers(label, toggle) {
  const offers = h("ul", { class: "chips" });
  const finding = `Find one of the ${label}`;
  const search = h("input", { type: "search", "aria-label": finding, placeholder: finding });
  const find = () => {
    const wanted = search.hidden ? "" : search.value.trim().toLowerCase();
    for (const one of offers.children)
      one.toggleAttribute("hidden", !one.textContent?.toLowerCase().includes(wanted));
  };
  search.addEventListener("input", find);
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter") event.preventDefault(); // it would run the form
  });
  return {
    elements: [search, offers],
    /** @param {Lora[]} loras */
    offer(loras) {
      // Those that can't be used come last.
      const sorted = [...loras].sort((a, b) => Number(!!a.reason) - Number(!!b.reason));
      offers.replaceChildren(...sorted.map((lora) => offerOf(lora, toggle)));
      offers.hidden = !sorted.length;
      search.hidden = sorted.length <= MANY;
      find();
    },
    /** Shows which are chosen. @param {(name: string) => boolean} isChosen */
    show(isChosen) {
      for (const one of offers.querySelectorAll("button"))
        if (!one.disabled) one.setAttribute("aria-pressed", String(isChosen(one.value)));
    },
  };
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
