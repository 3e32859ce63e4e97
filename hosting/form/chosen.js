// A picture that was chosen: how it looks, what becomes of it, and what can be done with it.

import { makeCrop } from "./crop.js";
import { button, h, save } from "./dom.js";

/** @typedef {import("./picture.js").Picture} Picture */
/** @typedef {import("./picture.js").SizedPicture} SizedPicture */

/** @typedef {import("./picture-field.js").More} More */

/**
 * What the buttons do.
 * @typedef {object} Buttons
 * @property {() => void} replace
 * @property {() => void} remove
 * @property {() => unknown} [paint]  paints on what is there.
 */
/**
 * @typedef {object} Chosen
 * @property {HTMLElement} element
 * @property {(picture: Picture?) => void} show
 * @property {(frame: import("./frame.js").Frame?) => void} crop
 * @property {(x: number, y: number) => void} moveTo
 * @property {() => void} focus
 */

/**
 * The place for a picture.
 * @param {string} id: of the field.
 * @param {string} title: what is chosen.
 * @param {Pick<More, "under" | "restore" | "fit"> & Buttons} more
 * @returns {Chosen}
 */
export function makeChosen(id, title, { paint, under, restore, fit, replace, remove }) {
  const element = h("figure", { class: "chosen", hidden: true });
  const becomes = h("span", { class: "hint result" });
  /** @type {import("./crop.js").Crop?} */
  let crop = null;

  /** @param {Picture} chosen */
  const imageOf = (chosen) =>
    h("img", { src: chosen.url, alt: `The ${title} that was chosen`, draggable: "false" });

  /** @param {SizedPicture} chosen */
  function preview(chosen) {
    const image = imageOf(chosen);
    if (fit) {
      crop = makeCrop(chosen, image, fit);
      return crop.preview;
    }
    const ground = under?.();
    const isOver = ground && ground.width === chosen.width && ground.height === chosen.height;
    if (!isOver) return h("div", { class: "preview" }, image);
    image.classList.add("over");
    return h("div", { class: "preview" }, h("img", { src: ground.url, alt: "" }), image);
  }

  /** @param {Picture} chosen */
  function buttons(chosen) {
    const quiet = { class: "quiet" };
    const described = { ...quiet, "aria-describedby": `${id}-hint ${id}-fault` };
    return h(
      "div",
      { class: "ways" },
      paint && chosen.width ? button("Edit mask", paint, quiet) : null,
      button("Replace", replace, described),
      button("Download", () => save(chosen.blob, chosen.name), quiet),
      button("Remove", remove, quiet),
    );
  }

  return {
    element,
    show(chosen) {
      element.hidden = chosen === null;
      crop = null;
      becomes.textContent = "";
      if (chosen === null) return element.replaceChildren();
      const shown = isSized(chosen) ? [preview(chosen)] : [];
      const tools = /** @type {import("./crop.js").Crop?} */ (crop)?.tools;
      const made = "This picture was made here. ";
      const notice =
        chosen.making && restore
          ? [
              h(
                "p",
                { class: "notice" },
                made,
                button("Use its settings", () => restore(chosen)),
              ),
            ]
          : [];
      const caption = h(
        "figcaption",
        {},
        h("span", { dir: "auto", class: "name" }, chosen.name),
        h("span", { class: "hint" }, sizeOf(chosen)),
        becomes,
      );
      element.replaceChildren(
        ...shown,
        caption,
        buttons(chosen),
        ...(tools ? [tools] : []),
        ...notice,
      );
    },
    crop(frame) {
      becomes.textContent = frame?.size ? `becomes ${frame.size[0]} × ${frame.size[1]} px` : "";
      crop?.show(frame);
    },
    moveTo: (x, y) => crop?.moveTo(x, y),
    focus: () => element.querySelector("button")?.focus(),
  };
}

/**
 * @param {Picture} picture
 * @returns {picture is SizedPicture}
 */
export const isSized = (picture) => Boolean(picture.width && picture.height);

/** @param {Picture} picture */
const sizeOf = ({ width, height }) =>
  width ? `${width} × ${height} px` : "this browser can't show it, the model can";
