// The frame on a chosen picture: what a result shows of it, to be moved, zoomed and extended.

import { announce, button, h } from "../page/dom.js";
import { EXTENSIONS, LONGEST_SIDE, MODES } from "./frame.js";
import { cropAt, pixelsOf, placeOf, shapeOf } from "./part.js";

const ZOOM_STEP = 1.25;
/** An extension is a multiple of it, in px. */
const EXTENSION_STEP = 8;
/** What each press adds, as a share of the picture's side. */
const EXTENSION_SHARE = 1 / 4;

const MODE_HINTS = {
  crop: "Cut off what does not fit",
  pad: "Show all of it, and repeat its edges around it",
  stretch: "Show all of it, distorted",
};
const ARROWS = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};
const SIDES = ["left", "top", "right", "bottom"];

/** @typedef {import("./frame.js").Frame} Frame */
/** @typedef {import("./picture.js").SizedPicture} SizedPicture */
/** @typedef {Record<string, import("../inputs/schema.js").Value>} Values */

/** @typedef {import("./part.js").Place} Place */

/**
 * @typedef {object} Crop
 * @property {HTMLElement} tools
 * @property {(frame: Frame?) => void} show
 * @property {(x: number, y: number) => void} moveTo  puts the frame's middle at a place, in shares
 *   of the picture.
 */

/**
 * Lays a frame on a picture.
 * @param {SizedPicture} picture
 * @param {HTMLElement} preview: shows it.
 * @param {(values: Values) => void} change: takes inputs.
 * @returns {Crop}
 */
export function makeCrop(picture, preview, change) {
  const box = h("div", { class: "crop" });
  preview.append(box);
  /** @type {Frame?} */
  let frame = null;
  /** What the person has asked for here, the input that this has become, and the shape it had. */
  /** @type {Place & {text: string, shape: string} | null} */
  let asked = null;
  let isWriting = false;

  const isOurs = () => asked !== null && frame?.crop === asked.text;

  const known = () => `${frame?.mode} ${shapeOf(picture, frame)}`;
  const place = () => placeOf(picture, frame);

  /** @param {Place} wanted */
  const put = (wanted) => {
    const { zoom, text } = cropAt(picture, frame, wanted);
    asked = { ...wanted, zoom, text, shape: "" };
    isWriting = true;
    change({ crop: text });
    isWriting = false;
    asked.shape = known();
  };

  /** @param {Place} wanted */
  const putAndTell = (wanted) => {
    put(wanted);
    const [left, top, width, height] = pixelsOf(picture, frame);
    announce(`${width} × ${height} px of the picture are used, from ${left}, ${top}`);
  };

  /** @param {number} factor */
  const zoomBy = (factor) => putAndTell({ ...place(), zoom: place().zoom * factor });

  listenToKeys(box, { place, put: putAndTell, picture }, zoomBy);
  listenToPointers(preview, { place, put, picture });
  listenToWheel(preview, box, { place, put, picture });
  const { tools, update } = makeTools(change, zoomBy);
  return {
    tools,
    moveTo: (x, y) => put({ ...place(), x: x * picture.width, y: y * picture.height }),
    show(newer) {
      const wasOurs = isOurs();
      frame = newer;
      // Another shape or size keeps the middle, and how close the person has gone.
      if (asked && wasOurs && !isWriting && isOurs() && asked.shape !== known()) return put(asked);
      const shares = frame?.box ?? [0, 0, 1, 1];
      const [left, top, width, height] = shares.map((share) => `${100 * share}%`);
      Object.assign(box.style, { left, top, width, height });
      makeMovable(box, preview, frame);
      tools.hidden = !frame;
      if (frame) update(frame, place().zoom);
    },
  };
}

/**
 * Lets a frame be moved by the keyboard, and where there is room for it, by a finger, which scrolls
 * the page in the directions in which there is none.
 * @param {HTMLElement} box
 * @param {HTMLElement} preview
 * @param {Frame?} frame
 */
function makeMovable(box, preview, frame) {
  const [, , width, height] = frame?.box ?? [0, 0, 1, 1];
  const [isAcross, isDown] = [width < 0.999, height < 0.999];
  const scrolled = [isAcross ? "" : "pan-x", isDown ? "" : "pan-y"].join(" ").trim();
  preview.style.touchAction = scrolled || "none";
  preview.classList.toggle("movable", isAcross || isDown);
  if (!frame) {
    for (const name of ["role", "tabindex", "aria-label"]) box.removeAttribute(name);
    return;
  }
  box.setAttribute("role", "application");
  box.setAttribute("tabindex", "0");
  box.setAttribute(
    "aria-label",
    "What is used of the picture: arrow keys move it, + and − make it smaller and larger",
  );
}

/** @typedef {{place: () => Place, put: (place: Place) => void, picture: SizedPicture}} Movable */

/**
 * Has arrow keys move the frame, and + and − zoom it.
 * @param {HTMLElement} box
 * @param {Movable} frame
 * @param {(factor: number) => void} zoomBy
 */
function listenToKeys(box, { place, put, picture }, zoomBy) {
  box.addEventListener("keydown", (event) => {
    const arrow = ARROWS[/** @type {keyof typeof ARROWS} */ (event.key)];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (arrow) {
      const step = event.shiftKey ? 1 : Math.max(picture.width, picture.height) / 50;
      const now = place();
      put({ ...now, x: now.x + arrow[0] * step, y: now.y + arrow[1] * step });
    } else if (event.key === "+" || event.key === "=") zoomBy(ZOOM_STEP);
    else if (event.key === "-") zoomBy(1 / ZOOM_STEP);
    else return;
    event.preventDefault();
  });
}

/**
 * Has the wheel zoom the frame.
 * @param {HTMLElement} preview
 * @param {HTMLElement} box
 * @param {Movable} frame
 */
function listenToWheel(preview, box, { place, put }) {
  preview.addEventListener(
    "wheel",
    (event) => {
      // Without Ctrl it scrolls the form, unless the person is at the frame.
      if (!box.hasAttribute("role") || !(event.ctrlKey || document.activeElement === box)) return;
      event.preventDefault();
      const now = place();
      put({ ...now, zoom: now.zoom * Math.exp(-event.deltaY / 400) });
    },
    { passive: false },
  );
}

/**
 * Has one pointer move the frame, and two zoom it.
 * @param {HTMLElement} preview
 * @param {Movable} frame
 */
function listenToPointers(preview, { place, put, picture }) {
  const pointers = /** @type {Map<number, PointerEvent>} */ (new Map());
  /** Where the frame and the pointers were when the number of these last changed. */
  let start = { ...place(), ...middleOf(pointers) };
  const begin = () => {
    start = { ...place(), ...middleOf(pointers) };
  };
  preview.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !preview.querySelector("[role]")) return;
    preview.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, event);
    begin();
  });
  preview.addEventListener("pointermove", (event) => {
    if (!pointers.has(event.pointerId)) return;
    pointers.set(event.pointerId, event);
    const now = middleOf(pointers);
    const scale = picture.width / preview.getBoundingClientRect().width;
    put({
      x: start.x + (now.across - start.across) * scale,
      y: start.y + (now.down - start.down) * scale,
      // Fingers that part make what is seen larger: less is used.
      zoom: start.zoom * (pointers.size > 1 ? now.apart / Math.max(1, start.apart) : 1),
    });
  });
  for (const kind of /** @type {const} */ (["pointerup", "pointercancel"]))
    preview.addEventListener(kind, (event) => {
      pointers.delete(event.pointerId);
      begin();
    });
}

/**
 * The middle of pointers in the window, and how far the first two are apart.
 * @param {Map<number, PointerEvent>} pointers
 */
function middleOf(pointers) {
  const [one = { clientX: 0, clientY: 0 }, other = one] = pointers.values();
  return {
    across: (one.clientX + other.clientX) / 2,
    down: (one.clientY + other.clientY) / 2,
    apart: Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY),
  };
}

/**
 * The buttons below the picture.
 * @param {(values: Values) => void} change
 * @param {(factor: number) => void} zoomBy
 */
function makeTools(change, zoomBy) {
  /** @type {Frame?} */
  let frame = null;
  const modes = MODES.map((mode) =>
    button(mode[0].toUpperCase() + mode.slice(1), () => change({ resize_mode: mode }), {
      title: MODE_HINTS[mode],
    }),
  );
  const less = button("−", () => zoomBy(1 / ZOOM_STEP), {
    "aria-label": "Use more of the picture",
  });
  const more = button("+", () => zoomBy(ZOOM_STEP), { "aria-label": "Use less of the picture" });
  const sides = ["←", "↑", "→", "↓"].map((arrow, side) =>
    button(arrow, () => frame && change(extended(frame, side))),
  );
  const none = button(
    "✕",
    () => {
      change(Object.fromEntries(EXTENSIONS.map((name) => [name, 0])));
      sides[0].focus();
    },
    { "aria-label": "Extend nothing" },
  );
  /**
   * @param {string} label
   * @param {...(HTMLElement | string)} children
   */
  const group = (label, ...children) =>
    h("div", { class: "segments", role: "group", "aria-label": label }, ...children);
  const tools = h(
    "div",
    { class: "fit" },
    group("How another shape is fitted", ...modes),
    group("How much of it is used", less, more),
    h("div", { class: "extending" }, "Extend", group("Draw beyond the picture", ...sides, none)),
  );
  /**
   * @param {Frame} newer
   * @param {number} zoom
   */
  const update = (newer, zoom) => {
    frame = newer;
    for (const [place, mode] of MODES.entries())
      modes[place].setAttribute("aria-pressed", String(mode === newer.mode));
    less.setAttribute("aria-disabled", String(zoom < 1.01));
    for (const [side, px] of newer.margins.entries()) {
      sides[side].textContent = "←↑→↓"[side] + (px ? ` ${px}` : "");
      const now = px ? `, now ${px} px` : "";
      sides[side].setAttribute("aria-label", `Extend the picture ${SIDES[side]}${now}`);
      const isMost = extended(newer, side)[EXTENSIONS[side]] <= px;
      sides[side].setAttribute("aria-disabled", String(isMost));
    }
    none.hidden = !newer.margins.some(Boolean);
  };
  return { tools, update };
}

/**
 * The inputs by which a picture gets more on one side.
 * @param {Frame} frame
 * @param {number} side: 0 to 3, in the order of `EXTENSIONS`.
 */
function extended({ inner, margins }, side) {
  const length = inner?.[side % 2] ?? 256;
  const added = Math.round((length * EXTENSION_SHARE) / EXTENSION_STEP) || 1;
  const opposite = margins[(side + 2) % 4];
  const room = Math.floor((LONGEST_SIDE - length - opposite) / EXTENSION_STEP);
  const steps = Math.min(margins[side] / EXTENSION_STEP + added, Math.max(0, room));
  return { [EXTENSIONS[side]]: EXTENSION_STEP * steps };
}
