// A picture that was chosen: how it looks, what becomes of it, and what can be done with it.

import { acting, button, h, save } from "../page/dom.js";

/** @typedef {import("./picture.js").Picture} Picture */
/** @typedef {import("./picture.js").SizedPicture} SizedPicture */

/** @typedef {import("./field.js").More} More */

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
  /** @type {import("./frame.js").Frame?} */
  let frame = null;
  /** @type {Picture?} */
  let picture = null;

  /** Lays a frame on the picture that is shown. Until there is one, nobody waits for its module. */
  const frameIt = acting(async (/** @type {SizedPicture} */ chosen) => {
    const { makeCrop } = await import("./crop.js");
    const shown = element.querySelector(".preview");
    if (!fit || picture !== chosen || !(shown instanceof HTMLElement)) return;
    crop = makeCrop(chosen, shown, fit);
    element.querySelector(".ways")?.after(crop.tools);
    crop.show(frame);
  });

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
      picture = chosen;
      crop = frame = null;
      element.hidden = chosen === null;
      becomes.textContent = "";
      if (chosen === null) return element.replaceChildren();
      const caption = h(
        "figcaption",
        {},
        h("span", { dir: "auto", class: "name" }, chosen.name),
        h("span", { class: "hint" }, sizeOf(chosen)),
        becomes,
      );
      const shown = isSized(chosen) ? [preview(chosen, title, under?.())] : [];
      element.replaceChildren(...shown, caption, buttons(chosen), ...noticeOf(chosen, restore));
      if (fit && isSized(chosen)) frameIt(chosen);
    },
    crop(newer) {
      frame = newer;
      becomes.textContent = frame?.size ? `becomes ${frame.size[0]} × ${frame.size[1]} px` : "";
      crop?.show(frame);
    },
    moveTo: (x, y) => crop?.moveTo(x, y),
    focus: () => element.querySelector("button")?.focus(),
  };
}

/**
 * @param {SizedPicture} chosen
 * @param {string} title
 * @param {Picture?} [ground]: what it lies on, where that has its size.
 */
function preview({ url, width, height }, title, ground) {
  const image = h("img", { src: url, alt: `The ${title} that was chosen`, draggable: "false" });
  const isOver = ground && ground.width === width && ground.height === height;
  if (!isOver) return h("div", { class: "preview" }, image);
  image.classList.add("over");
  return h("div", { class: "preview" }, h("img", { src: ground.url, alt: "" }), image);
}

/**
 * @param {Picture} chosen
 * @param {More["restore"]} restore
 */
function noticeOf(chosen, restore) {
  if (!chosen.making || !restore) return [];
  const restoring = button("Use its settings", () => restore(chosen));
  return [h("p", { class: "notice" }, "This picture was made here. ", restoring)];
}

/**
 * @param {Picture} picture
 * @returns {picture is SizedPicture}
 */
export const isSized = (picture) => Boolean(picture.width && picture.height);

/** @param {Picture} picture */
const sizeOf = ({ width, height }) =>
  width ? `${width} × ${height} px` : "this browser can't show it, the model can";
