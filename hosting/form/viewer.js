// One picture, as large as the window, beside what it was made from.

import { ask, here } from "./api.js";
import { button, copy, h } from "./dom.js";
import { readPicture } from "./picture.js";
import { download, picturesOf, settingsOf } from "./predictions.js";

/**
 * Shows a picture until the person closes it.
 * @param {number} index: of the picture.
 * @param {object} actions: `reuse(prediction, picture)`, `vary(prediction, picture)` and
 *   `useAsInput(picture)`; the last two are not there where nothing can be run.
 */
export function view(prediction, index, actions) {
  const pictures = picturesOf(prediction).filter(({ url }) => url);
  let place = pictures.findIndex((one) => one.index === index);
  const image = h("img", { class: "after" });
  const frame = h("div", { class: "compare" }, image);
  const caption = h("p", { class: "hint" });
  const now = () => pictures[place];
  const leave = (act) => () => {
    dialog.close();
    act();
  };
  const turn = (by) => {
    place = (place + by + pictures.length) % pictures.length;
    show();
  };
  const several = pictures.length > 1;
  const dialog = h(
    "dialog",
    { class: "viewer", "aria-label": "Picture" },
    h("div", { class: "stage" }, frame),
    caption,
    h(
      "div",
      { class: "buttons" },
      several ? button("‹", () => turn(-1), { "aria-label": "Previous picture" }) : null,
      several ? button("›", () => turn(1), { "aria-label": "Next picture" }) : null,
      button("Download", () => download(now())),
      actions.useAsInput ? button("Use as input", leave(() => actions.useAsInput(now()))) : null,
      button("Again with this seed", leave(() => actions.reuse(prediction, now()))),
      actions.vary ? button("Vary", leave(() => actions.vary(prediction, now()))) : null,
      button("Copy settings", (event) => copy(settingsOf(prediction, now().seed), event.target)),
      button("Close", () => dialog.close(), { class: "primary" }),
    ),
  );

  function show() {
    image.src = now().url;
    image.alt = prediction.input.prompt || "A picture without a prompt";
    caption.textContent = [now().seed !== null && `seed ${now().seed}`, several && `${place + 1} of ${pictures.length}`, prediction.input.prompt].filter(Boolean).join(" · ");
  }

  dialog.addEventListener("keydown", (event) => {
    if (event.target.type === "range" || !several) return;
    if (event.key === "ArrowLeft") turn(-1);
    if (event.key === "ArrowRight") turn(1);
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  show();
  document.body.append(dialog);
  dialog.showModal();
  compare(prediction, frame, caption);
}

/** Lays the input over the picture, with a slider for how much of it is seen. */
async function compare({ input }, frame, caption) {
  const path = typeof input.image === "string" ? here(input.image) : "";
  if (!path.startsWith("/files/")) return;
  let before;
  try {
    before = await readPicture(await (await ask(path)).blob(), "the input");
  } catch {
    return; // it is no longer kept, or in a format that this browser does not show
  }
  const slider = h("input", { type: "range", min: 0, max: 100, value: 0, "aria-label": "How much of the input is shown" });
  slider.addEventListener("input", () => frame.style.setProperty("--cut", `${slider.value}%`));
  frame.append(h("img", { class: "before", src: before.url, alt: "The input" }));
  caption.before(h("label", { class: "pair slide" }, "After", slider, "Before"));
}
