// The inputs below "Advanced": their heading is always in sight, and opened they come into it.

import { byId, h } from "../page/dom.js";

/** Keeps them in sight, where the form has a scroll bar of its own. */
export function keepAdvancedInSight() {
  const [advanced, inputs] = [byId("advanced"), byId("inputs")];
  const heading = /** @type {HTMLElement} */ (advanced.querySelector("summary"));
  const show = () => {
    const space = heading.getBoundingClientRect().top - inputs.getBoundingClientRect().top;
    inputs.scrollBy({ top: space });
  };
  heading.addEventListener("click", () => {
    if (!advanced.open) requestAnimationFrame(show);
  });
  inputs.addEventListener("toggle", showOpened, true); // it does not bubble
  // The heading itself can't stick to the lower edge: nothing leaves the box that it is in.
  const sign = h("button", { type: "button", class: "to-advanced", hidden: true }, "Advanced ↓");
  sign.addEventListener("click", () => {
    advanced.open = true;
    heading.focus({ preventScroll: true });
    show();
  });
  inputs.append(sign);
  new IntersectionObserver(
    ([{ isIntersecting, boundingClientRect, rootBounds }]) => {
      sign.hidden = isIntersecting || boundingClientRect.top < (rootBounds?.bottom ?? Infinity);
    },
    { root: inputs },
  ).observe(heading);
}

/**
 * Brings what the person has unfolded into sight.
 * @param {Event} event
 */
function showOpened({ target }) {
  const group = /** @type {HTMLDetailsElement} */ (target);
  if (!group.open || !group.matches("#rest *")) return;
  group.scrollIntoView({ block: "nearest" });
  group.querySelector("summary")?.scrollIntoView({ block: "nearest" }); // of what is higher than that
}
