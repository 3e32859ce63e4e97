// The stage of the viewer: a picture that is zoomed and moved, and another that lies over a part of
// it, up to a line that can be dragged.

import { h } from "../page/dom.js";
import { listenToGestures } from "../page/gestures.js";

/** @typedef {import("../page/gestures.js").Point} Point */
/** @typedef {import("./placing.js").Place} Place */
/** @typedef {import("./placing.js").Size} Size */
/**
 * What a picture is compared with.
 * @typedef {object} Other
 * @property {string} url
 * @property {string} words  for those who don't see it.
 * @property {string} slider  the name of what says how much of it is shown.
 * @property {string[]} badges  of the two sides.
 * @property {(size: Size) => Place?} place  null puts all of it in the middle.
 */

/** How many px of the screen a pixel may have at most, and more than which it is shown as a square. */
const LARGEST_SCALE = 16;
const SQUARES = 3;
/** By how much the buttons and keys zoom, and a double click on a picture that is shown as it is. */
const ZOOM_STEP = 1.5;
const CLOSER = 3;
/** The px from the line within which a drag takes it: a mouse's of a zoomed picture, a finger's. */
const NEAR = 24;
const NEAR_FINGER = 56;
/** The px of a swipe that turns to another picture, and of a key that moves a zoomed one. */
const SWIPE = 50;
const STEP = 80;
/** The width in px of the line's handle, as in viewer.css. */
const HANDLE = 44;
/** The px beside the line that a badge needs. */
const BADGE = 90;

/** A stage. It holds one picture at a time. */
export class Stage {
  /**
   * @param {object} told
   * @param {(by: number) => void} told.turn: a swipe asks for the next picture (1), or the one before.
   * @param {(percent: number?) => void} told.zoomed: how large it is now, of its own size; null
   *   while there is none.
   */
  constructor({ turn, zoomed }) {
    this.told = { turn, zoomed };
    this.after = h("img", { class: "after", draggable: "false" });
    this.other = h("img", { alt: "", draggable: "false" });
    this.before = h("div", { class: "before" }, this.other);
    this.layers = h("div", { class: "layers" }, this.after, this.before);
    this.line = h("div", { class: "viewer-line" });
    this.slider = h("input", { type: "range", class: "divider", min: 0, max: 100, step: "any" });
    this.badges = [h("span", { class: "badge" }), h("span", { class: "badge" })];
    this.element = h(
      "div",
      { class: "stage", dir: "ltr", tabindex: -1 },
      this.layers,
      this.line,
      h("div", { class: "badges", "aria-hidden": "true" }, ...this.badges),
      this.slider,
    );
    this.scale = 1;
    this.isFitted = true;
    /** Where the picture's corner is, and by how much a swipe has moved it. */
    this.corner = { x: 0, y: 0 };
    this.swiped = 0;
    this.isComparing = false;
    /** Make what was asked for before count no more. */
    this.asked = 0;
    this.askedToCompare = 0;
    this.listen();
  }

  listen() {
    this.slider.addEventListener("input", () => this.draw());
    new ResizeObserver(() => (this.isFitted ? this.fit() : this.zoomTo(this.scale))).observe(
      this.element,
    );
    listenToGestures(this.element, {
      begin: (at, isTouch) => this.begin(at, isTouch),
      drag: (kind, by, at) => {
        if (kind === "divide") this.cutAt(at.x);
        else if (kind === "pan") this.pan(by);
        else this.swiped += by.x;
        this.draw();
      },
      end: (kind, whole) => {
        if (kind !== "swipe") return;
        this.swiped = 0;
        this.draw();
        if (Math.abs(whole.x) > Math.max(SWIPE, 2 * Math.abs(whole.y)))
          this.told.turn(whole.x < 0 ? 1 : -1);
      },
      zoom: (factor, at) => this.zoomTo(this.scale * factor, at),
      doubled: (at) => {
        if (!this.isFitted) return this.fit();
        this.zoomTo(this.fitting < 0.9 ? 1 : this.fitting * CLOSER, at);
      },
    });
  }

  /**
   * Shows a picture, alone until something is compared with it.
   * @param {string} url
   * @param {string} words: for those who don't see it.
   * @returns {Promise<Size?>} its size; null where it can't be shown, or another is asked for now.
   */
  async show(url, words) {
    const asked = ++this.asked;
    this.compare(null);
    this.element.setAttribute("aria-busy", "true");
    this.after.alt = words;
    this.after.src = url;
    const isThere = await decoded(this.after);
    if (asked !== this.asked) return null;
    this.element.removeAttribute("aria-busy");
    this.fit();
    return isThere ? this.size : null;
  }

  /**
   * Lays a part of another picture over this one; without one, nothing.
   * @param {Other?} other
   */
  async compare(other) {
    const asked = ++this.askedToCompare;
    this.isComparing = false;
    this.draw();
    if (!other) return;
    this.other.src = other.url;
    this.other.alt = other.words;
    if (!(await decoded(this.other))) return; // no longer kept, or a TIFF
    if (asked !== this.askedToCompare) return;
    this.slider.setAttribute("aria-label", other.slider);
    this.badges.forEach((badge, side) => {
      badge.textContent = other.badges[side];
    });
    lay(this.other, other.place(sizeOf(this.other)));
    this.slider.value = "50";
    this.isComparing = true;
    this.draw();
  }

  get size() {
    return sizeOf(this.after);
  }

  get isEmpty() {
    return !this.size.width;
  }

  /** The scale at which all of it is seen. */
  get fitting() {
    if (this.isEmpty) return 1;
    const { clientWidth, clientHeight } = this.element;
    return Math.min(clientWidth / this.size.width, clientHeight / this.size.height) || 1;
  }

  /** Shows all of the picture. */
  fit() {
    this.scale = this.fitting;
    this.isFitted = true;
    this.pan({ x: 0, y: 0 });
    this.draw();
  }

  /**
   * Shows it larger or smaller.
   * @param {number} scale: px of the screen for each of its pixels.
   * @param {Point} at: what stays where it is; the middle unless given.
   */
  zoomTo(scale, at = { x: this.element.clientWidth / 2, y: this.element.clientHeight / 2 }) {
    if (this.isEmpty) return;
    const fitting = this.fitting;
    const least = Math.min(fitting, 1);
    const most = Math.max(LARGEST_SCALE, fitting * CLOSER);
    const now = Math.min(Math.max(scale, least), most);
    this.isFitted = Math.abs(now / fitting - 1) < 0.01;
    if (this.isFitted) return this.fit();
    const factor = now / this.scale;
    this.corner = {
      x: at.x - (at.x - this.corner.x) * factor,
      y: at.y - (at.y - this.corner.y) * factor,
    };
    this.scale = now;
    this.pan({ x: 0, y: 0 });
    this.draw();
  }

  /** By steps. @param {number} steps: less than 0 is smaller. */
  zoomBy(steps) {
    this.zoomTo(this.scale * ZOOM_STEP ** steps);
  }

  /**
   * Moves a zoomed picture by a key's step.
   * @param {number} x: 1 shows what is to the right.
   * @param {number} y
   */
  step(x, y) {
    this.pan({ x: -x * STEP, y: -y * STEP });
    this.draw();
  }

  /**
   * Moves the picture as far as there is more of it; a side that is all seen is in the middle.
   * @param {Point} by
   */
  pan(by) {
    const { clientWidth, clientHeight } = this.element;
    /** @param {number} place @param {number} room @param {number} length */
    const within = (place, room, length) =>
      length <= room ? (room - length) / 2 : Math.min(0, Math.max(room - length, place));
    this.corner = {
      x: within(this.corner.x + by.x, clientWidth, this.size.width * this.scale),
      y: within(this.corner.y + by.y, clientHeight, this.size.height * this.scale),
    };
  }

  /**
   * @param {Point} at
   * @param {boolean} isTouch
   * @returns {import("../page/gestures.js").Kind?}
   */
  begin(at, isTouch) {
    const isNear = Math.abs(at.x - this.cut) < (isTouch ? NEAR_FINGER : NEAR);
    if (this.isComparing && (isNear || (this.isFitted && !isTouch))) return "divide";
    if (!this.isFitted) return "pan";
    return isTouch ? "swipe" : null;
  }

  /** From where to where, in px, the picture is seen. */
  get seen() {
    const right = this.corner.x + this.size.width * this.scale;
    return [Math.max(0, this.corner.x), Math.min(this.element.clientWidth, right)];
  }

  /** Where the line is, in px. */
  get cut() {
    const [left, right] = this.seen;
    return left + ((right - left) * Number(this.slider.value)) / 100;
  }

  /** @param {number} x */
  cutAt(x) {
    const [left, right] = this.seen;
    this.slider.value = String((100 * (x - left)) / (right - left));
  }

  /** Puts everything where it is to be. */
  draw() {
    const { x, y } = this.corner;
    this.layers.style.width = `${this.size.width * this.scale}px`;
    this.layers.style.height = `${this.size.height * this.scale}px`;
    this.layers.style.transform = `translate(${x + this.swiped}px, ${y}px)`;
    this.layers.classList.toggle("squares", this.scale >= SQUARES && !this.isFitted);
    this.element.classList.toggle("zoomed", !this.isFitted);
    this.element.classList.toggle("comparing", this.isComparing);
    for (const one of [this.before, this.line, this.slider, ...this.badges])
      one.hidden = !this.isComparing;
    if (this.isComparing) this.drawLine();
    this.told.zoomed(this.isEmpty ? null : Math.round(100 * this.scale));
  }

  /** Puts the line where the slider says, and the badges beside the sides that are seen. */
  drawLine() {
    const { cut, corner, scale, size } = this;
    const [left, right] = this.seen;
    const top = Math.max(0, corner.y);
    const bottom = Math.min(this.element.clientHeight, corner.y + size.height * scale);
    const part = (cut - corner.x) / (size.width * scale);
    this.before.style.clipPath = `inset(0 ${Math.round((1 - part) * 1e4) / 100}% 0 0)`;
    this.line.style.left = `${cut}px`;
    this.line.style.top = `${top}px`;
    this.line.style.height = `${bottom - top}px`;
    this.slider.style.left = `${left - HANDLE / 2}px`;
    this.slider.style.width = `${right - left + HANDLE}px`;
    this.slider.style.top = `${(top + bottom) / 2}px`;
    const [before, after] = this.badges;
    for (const badge of this.badges) badge.style.top = `${top}px`;
    before.style.left = `${left}px`;
    after.style.right = `${this.element.clientWidth - right}px`;
    before.hidden = cut - left < BADGE;
    after.hidden = right - cut < BADGE;
  }
}

/**
 * @param {HTMLImageElement} image
 * @returns {Size}
 */
const sizeOf = ({ naturalWidth, naturalHeight }) => ({
  width: naturalWidth,
  height: naturalHeight,
});

/**
 * Whether a picture can be shown, once that is known.
 * @param {HTMLImageElement} image
 */
async function decoded(image) {
  try {
    await image.decode();
    return true;
  } catch {
    return false;
  }
}

/**
 * @param {HTMLImageElement} image
 * @param {Place?} place
 */
function lay(image, place) {
  const { left, top, width, height, inset } = place ?? {
    ...{ left: 0, top: 0, width: 1, height: 1 },
    inset: [0, 0, 0, 0],
  };
  image.style.left = `${100 * left}%`;
  image.style.top = `${100 * top}%`;
  image.style.width = `${100 * width}%`;
  image.style.height = `${100 * height}%`;
  const sides = inset.map((part) => `${100 * part}%`);
  image.style.clipPath = `inset(${sides.join(" ")})`;
  image.classList.toggle("whole", !place);
}
