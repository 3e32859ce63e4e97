// The tabs: the form, or its code.

import { byId } from "./dom.js";

const NAMES = ["inputs", "code"];

let onChosen = () => {};

/**
 * Shows the form or its code.
 * @param {string} name: `inputs` or `code`.
 */
export function chooseTab(name) {
  for (const one of NAMES) {
    const tab = byId(`tab-${one}`);
    tab.setAttribute("aria-selected", String(one === name));
    tab.tabIndex = one === name ? 0 : -1;
    byId(one).hidden = one !== name;
  }
  onChosen();
}

/**
 * Has the tabs work, by mouse and keyboard.
 * @param {() => void} chosen: called when one is.
 */
export function listenToTabs(chosen) {
  onChosen = chosen;
  for (const [place, name] of NAMES.entries()) {
    const other = NAMES[1 - place];
    byId(`tab-${name}`).addEventListener("click", () => chooseTab(name));
    byId(`tab-${name}`).addEventListener("keydown", ({ key }) => {
      if (!["ArrowLeft", "ArrowRight"].includes(key)) return;
      chooseTab(other);
      byId(`tab-${other}`).focus();
    });
  }
}
