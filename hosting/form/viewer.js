// One picture, as large as the window, beside what it was made from.

import { announce, button, copy, h } from "./dom.js";
import { download, settingsOf, thereOf } from "./predictions.js";

/** @typedef {import("./predictions.js").Prediction} Prediction */
/** @typedef {import("./predictions.js").Drawn} Drawn */
/** @typedef {import("./predictions.js").ThereDrawn} ThereDrawn */

/**
 * Shows a picture until the person closes it.
 * @param {Prediction} prediction
 * @param {number} index: of the picture.
 * @param {object} actions: the last two are not there where nothing can be run.
 * @param {(prediction: Prediction, drawn: Drawn) => unknown} actions.reuse
 * @param {(prediction: Prediction, drawn: ThereDrawn) => unknown} [actions.vary]
 * @param {(drawn: ThereDrawn) => unknown} [actions.useAsInput]
 * @param {(string | null) | Promise<string | null>} input: where the image that it was made from is to be had.
 */
export async function view(prediction, index, actions, input) {
  const pictures = thereOf(prediction);
  let place = pictures.findIndex((one) => one.index === index);
  const image = h("img", { class: "after" });
  const layers = h("div", { class: "pictures" }, image);
  const frame = h("div", { class: "compare", dir: "ltr" }, layers);
  const caption = h("p", { class: "hint" });
  const now = () => pictures[place];
  const { useAsInput, vary } = actions;
  /** @param {() => unknown} act */
  const leave = (act) => () => {
    dialog.close();
    return act();
  };
  /** @param {number} by */
  const turn = (by) => {
    place = (place + by + pictures.length) % pictures.length;
    show();
  };
  const isOne = pictures.length === 1;
  /** @type {HTMLDialogElement} */
  const dialog = h(
    "dialog",
    { class: "viewer", "aria-label": "Picture" },
    h("div", { class: "stage" }, frame),
    caption,
    h("p", { class: "unseen", role: "status" }),
    h(
      "div",
      { class: "buttons" },
      isOne ? null : button("‹", () => turn(-1), { "aria-label": "Previous picture" }),
      isOne ? null : button("›", () => turn(1), { "aria-label": "Next picture" }),
      button("Download", () => download(now())),
      useAsInput
        ? button(
            "Use as input",
            leave(() => useAsInput(now())),
          )
        : null,
      button(
        "Again with this seed",
        leave(() => actions.reuse(prediction, now())),
      ),
      vary
        ? button(
            "Vary",
            leave(() => vary(prediction, now())),
          )
        : null,
      button("Copy settings", ({ target }) => copy(settingsOf(prediction, now().seed), target)),
      button("Close", () => dialog.close(), { class: "primary" }),
    ),
  );

  function show() {
    const { prompt } = prediction.input;
    image.src = now().url;
    image.alt = `Picture ${now().index + 1} of ${prompt || "no prompt"}`;
    const number = isOne ? null : `picture ${place + 1} of ${pictures.length}`;
    const seed = now().seed === null ? null : `seed ${now().seed}`;
    caption.textContent = [number, seed, prompt].filter(Boolean).join(" · ");
    announce(caption.textContent);
  }

  dialog.addEventListener("keydown", ({ key, target }) => {
    if (target instanceof HTMLInputElement || isOne) return; // the slider's own keys
    if (key === "ArrowLeft") turn(-1);
    if (key === "ArrowRight") turn(1);
  });
  dialog.addEventListener("click", ({ target }) => {
    if (target === dialog) dialog.close();
  });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  show();
  const before = await input;
  if (before) compare(frame, layers, before);
}

/**
 * Lays the input over the picture, with a slider for how much of it is seen.
 * @param {HTMLElement} frame
 * @param {HTMLElement} layers
 * @param {string} url
 */
function compare(frame, layers, url) {
  const slider = h("input", {
    type: "range",
    min: 0,
    max: 100,
    value: 0,
    "aria-label": "How much of the input is shown",
  });
  slider.addEventListener("input", () => frame.style.setProperty("--cut", `${slider.value}%`));
  const image = h("img", { class: "before", src: url, alt: "The input" });
  // Not where it is no longer kept, or in a format that this browser does not show.
  image.addEventListener("load", () => {
    const labels = ["Before", "After"].map((text) => h("span", {}, text));
    layers.append(h("div", { class: "slide", "aria-hidden": "true" }, ...labels));
    frame.append(slider);
  });
  layers.append(image);
}
