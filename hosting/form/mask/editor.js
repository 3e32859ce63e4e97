// The painting of a mask over a picture, in a dialog.

import { announce, button, h } from "../page/dom.js";
import { useStyle } from "../page/style-sheet.js";
import { layerOf, maskOf } from "./file.js";
import { listenToHand } from "./hand.js";
import { makeLayer } from "./layer.js";
import { makeStage } from "./stage.js";
import { makeTools } from "./tools.js";

/** The value from which on a pixel is repainted. */
const WHITE = 128;
const WHOLE = /** @type {[number, number, number, number]} */ ([0, 0, 1, 1]);
const HINT = "What you paint is repainted; the rest stays.";
const CANVAS_LABEL =
  "Picture to paint on: arrow keys move the brush, Enter puts it down and lifts it";
const CUT_HINT = `${HINT} What is dark is cut off.`;

/** @typedef {import("../picture/picture.js").Picture} Picture */
/** @typedef {{mask: Picture, blur: number?}} Painted */

/**
 * Has the person paint what is to be repainted.
 * @param {import("../picture/picture.js").SizedPicture} picture: what is painted on.
 * @param {Picture?} mask: what was painted before, or a mask from elsewhere.
 * @param {object} more
 * @param {[number, number, number, number]} [more.box]: what a result shows of the picture, in
 *   shares.
 * @param {number?} [more.blur]: px by which the mask's edge is softened; null where it can't be.
 * @param {import("../picture/frame.js").Get} [more.get]: by which the mask is read.
 * @returns {Promise<Painted?>} white where it was painted, else black, of the picture's size; null
 *   if the person goes back.
 */
export async function paintMask(
  picture,
  mask,
  { box = WHOLE, blur = null, get = () => null } = {},
) {
  const { width, height } = picture;
  await useStyle("mask/editor");
  const base = mask && (await layerOf(mask, width, height, get));
  /** @type {import("./tools.js").Tools | undefined} */
  let tools;
  const update = () => tools?.update({ zoom: stage.zoom(), isClosest: stage.isClosest() });
  const layer = makeLayer(width, height, base, update);
  const { canvas } = layer;
  const soften = () => {
    const px = (tools?.blur() ?? 0) * stage.scale();
    canvas.style.filter = px ? `blur(${px}px)` : "";
  };
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "application");
  canvas.setAttribute("aria-label", CANVAS_LABEL);
  const stage = makeStage(picture, canvas, box, () => {
    update();
    soften();
  });
  /** @param {number} factor */
  const zoomBy = (factor) => stage.zoomTo(stage.zoom() * factor);
  tools = makeTools(picture, layer, blur, zoomBy, soften);
  const isUsed = await opened(picture, layer, stage, tools, box);
  return isUsed ? { mask: await maskOf(layer.greys(), width, height), blur: tools.blur() } : null;
}

/**
 * Shows the editor until the person leaves it; whether they use what they have painted.
 * @param {{width: number, height: number}} picture
 * @param {import("./layer.js").Layer} layer
 * @param {import("./stage.js").Stage} stage
 * @param {import("./tools.js").Tools} tools
 * @param {[number, number, number, number]} box
 */
async function opened(picture, layer, stage, tools, box) {
  const blurBefore = tools.blur();
  const hint = h("span", { class: "hint" }, isWhole(box) ? HINT : CUT_HINT);
  /** @param {string} text */
  const tell = (text) => {
    hint.textContent = text;
    announce(text);
  };
  let isWarned = false;
  const use = () => {
    const { isAny, isInside } = whiteness(layer.greys(), picture, box);
    if (!isAny) return tell("Paint over what should change first.");
    if (isInside || isWarned) return dialog.close("use");
    isWarned = true;
    tell(
      "All that you have painted is cut off: nothing would change. Press again to use it anyway.",
    );
  };
  const leave = () => {
    const isChanged = layer.canUndo() || tools.blur() !== blurBefore;
    if (!isChanged || confirm("Go back without what you have painted?")) dialog.close();
  };
  /** @type {HTMLDialogElement} */
  const dialog = h(
    "dialog",
    { class: "editor", "aria-label": "Paint what is to be repainted" },
    tools.element,
    stage.element,
    h(
      "div",
      { class: "buttons" },
      hint,
      h("span", { class: "unseen", role: "status" }),
      button("Back", leave),
      button("Use this mask", use, { class: "primary" }),
    ),
  );
  const ended = new AbortController();
  listenToLeaving(dialog, leave, ended.signal);
  dialog.addEventListener("keydown", (event) => {
    if (!event.defaultPrevented && tools.press(event)) event.preventDefault();
  });
  listenToHand(dialog, layer, stage, tools, ended.signal);
  const resized = new ResizeObserver(() => stage.fit());
  document.body.append(dialog);
  dialog.showModal();
  stage.fit();
  resized.observe(stage.element);
  await new Promise((closed) => dialog.addEventListener("close", closed));
  resized.disconnect();
  ended.abort();
  dialog.remove();
  return dialog.returnValue === "use";
}

/** @param {number[]} box */
const isWhole = (box) => box.every((share, place) => Math.abs(share - WHOLE[place]) < 0.001);

/**
 * Has Escape, and Back on a phone, do what the button does.
 * @param {HTMLDialogElement} dialog
 * @param {() => void} leave
 * @param {AbortSignal} signal
 */
function listenToLeaving(dialog, leave, signal) {
  dialog.addEventListener("cancel", (event) => {
    event.preventDefault();
    leave();
  });
  // Browsers let a page prevent only the first of two cancels.
  document.addEventListener(
    "keydown",
    (event) => {
      if (event.key !== "Escape" || event.defaultPrevented) return;
      event.preventDefault();
      if (!event.repeat) leave();
    },
    { signal },
  );
}

/**
 * Whether anything is white, and whether any of that is in a box.
 * @param {Uint8Array} greys
 * @param {{width: number, height: number}} picture
 * @param {[number, number, number, number]} box: in shares.
 */
function whiteness(greys, { width, height }, [left, top, wide, high]) {
  let isAny = false;
  for (let place = 0; place < greys.length; place++) {
    if (greys[place] < WHITE) continue;
    isAny = true;
    const x = ((place % width) + 0.5) / width;
    const y = (Math.floor(place / width) + 0.5) / height;
    if (x >= left && x <= left + wide && y >= top && y <= top + high)
      return { isAny, isInside: true };
  }
  return { isAny, isInside: false };
}
