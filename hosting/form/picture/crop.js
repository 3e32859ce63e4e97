// The frame on a chosen picture: what a result shows of it, to be moved, zoomed and extended.

import { announce, button, h } from "../page/dom.js";
import { EXTENSIONS, framed, LONGEST_SIDE, largest, MODES } from "./frame.js";

/** How much closer than all of it a part can be. */
const CLOSEST = 8;
/** Px of a picture that a part's shorter side has at least. */
const SMALLEST = 16;
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
/** @typedef {import("./frame.js").Size} Size */
/** @typedef {import("./picture.js").SizedPicture} SizedPicture */
/** @typedef {Record<string, import("../inputs/schema.js").Value>} Values */

/**
 * What part is wanted: its middle in px of the picture, and how often the largest is as wide.
 * @typedef {{x: number, y: number, zoom: number}} Place
 */

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

  /** The shape of the part, wherever it is. @returns {Size} */
  const shape = () => frame?.shape ?? [picture.width, picture.height];
  const known = () => `${frame?.mode} ${shape()}`;

  /** @returns {Place} */
  const place = () => {
    const [left, top, width, height] = frame?.box ?? [0, 0, 1, 1];
    const [wide, high] = largest(picture, shape());
    const zoom = Math.min(wide / (width * picture.width), high / (height * picture.height));
    return {
      x: (left + width / 2) * picture.width,
      y: (top + height / 2) * picture.height,
      zoom: Math.max(1, zoom),
    };
  };

  /** @param {Place} wanted */
  const put = ({ x, y, zoom: wanted }) => {
    const closest = Math.min(CLOSEST, Math.min(...largest(picture, shape())) / SMALLEST);
    const zoom = Math.min(Math.max(1, wanted), Math.max(1, closest));
    const text = textOf(picture, shape(), zoom, [x, y]);
    asked = { x, y, zoom, text, shape: "" };
    isWriting = true;
    change({ crop: text });
    isWriting = false;
    asked.shape = known();
  };

  /** @param {number} factor */
  const zoomBy = (factor) => {
    const now = place();
    put({ ...now, zoom: now.zoom * factor });
    tell();
  };

  const tell = () => {
    const [left, top, width, height] = pixelsOf(picture, frame);
    announce(`${width} × ${height} px of the picture are used, from ${left}, ${top}`);
  };

  box.addEventListener("keydown", (event) => {
    const arrow = ARROWS[/** @type {keyof typeof ARROWS} */ (event.key)];
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (arrow) {
      const step = event.shiftKey ? 1 : Math.max(picture.width, picture.height) / 50;
      const now = place();
      put({ ...now, x: now.x + arrow[0] * step, y: now.y + arrow[1] * step });
      tell();
    } else if (event.key === "+" || event.key === "=") zoomBy(ZOOM_STEP);
    else if (event.key === "-") zoomBy(1 / ZOOM_STEP);
    else return;
    event.preventDefault();
  });
  listenToPointers(preview, { place, put, picture });
  preview.addEventListener(
    "wheel",
    (event) => {
      // Without Ctrl it scrolls the form, unless the person is at the frame.
      if (!frame || !(event.ctrlKey || document.activeElement === box)) return;
      event.preventDefault();
      const now = place();
      put({ ...now, zoom: now.zoom * Math.exp(-event.deltaY / 400) });
    },
    { passive: false },
  );

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
 * The input `crop` for a part; nothing for what is used anyway.
 * @param {SizedPicture} picture
 * @param {Size} shape
 * @param {number} zoom
 * @param {[number, number]} middle
 */
function textOf(picture, shape, zoom, middle) {
  const part = framed(picture, shape, zoom, middle);
  const usual = framed(picture, shape, 1, [picture.width / 2, picture.height / 2]);
  return String(part) === String(usual) ? "" : String(part);
}

/**
 * What is used of a picture, in whole px.
 * @param {SizedPicture} picture
 * @param {Frame?} frame
 */
function pixelsOf({ width, height }, frame) {
  const [left, top, wide, high] = frame?.box ?? [0, 0, 1, 1];
  return [left * width, top * height, wide * width, high * height].map(Math.round);
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

/**
 * Has one pointer move the frame, and two zoom it.
 * @param {HTMLElement} preview
 * @param {object} frame
 * @param {() => Place} frame.place
 * @param {(place: Place) => void} frame.put
 * @param {SizedPicture} frame.picture
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
