// What fingers, a mouse and its wheel do on a picture.

/** @typedef {"divide" | "pan" | "swipe"} Kind  what a drag does. */
/** @typedef {{x: number, y: number}} Point  in px, from the element's corner. */
/**
 * Who is told of it.
 * @typedef {object} Taker
 * @property {(at: Point, isTouch: boolean) => Kind?} begin  says what a drag from there does.
 * @property {(kind: Kind, by: Point, at: Point) => void} drag  by so much since it was told last.
 * @property {(kind: Kind, whole: Point) => void} end  by so much altogether.
 * @property {(factor: number, at: Point) => void} zoom
 * @property {(at: Point) => void} doubled  a double click, or two taps.
 */

/** How far in px a pointer moves before it drags. */
const SLACK = 4;
/** How much a px of a wheel zooms, and of a trackpad on which two fingers pinch. */
const WHEEL = 0.0015;
const PINCH = 0.01;
/** The px of a wheel that counts in lines. */
const LINE = 16;

/**
 * Listens on an element until it is gone.
 * @param {HTMLElement} element
 * @param {Taker} taker
 */
export function listenToGestures(element, taker) {
  const pointers = /** @type {Map<number, Point>} */ (new Map());
  const drag = new Drag(taker);

  /** @param {MouseEvent} event */
  const at = (event) => {
    const { left, top } = element.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  };

  element.addEventListener("pointerdown", (event) => {
    if (event.button || pointers.size === 2) return;
    element.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, at(event));
    if (pointers.size > 1) drag.cancel();
    else drag.begin(at(event), event.pointerType !== "mouse");
  });
  element.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const now = at(event);
    const other = [...pointers].find(([id]) => id !== event.pointerId);
    pointers.set(event.pointerId, now);
    if (other) pinch(taker, before, now, other[1]);
    else drag.move(before, now);
  });
  element.addEventListener("pointerup", ({ pointerId }) => {
    if (pointers.delete(pointerId)) drag.end();
  });
  element.addEventListener("pointercancel", ({ pointerId }) => {
    if (pointers.delete(pointerId)) drag.cancel();
  });
  element.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const px = event.deltaY * (event.deltaMode ? LINE : 1);
      taker.zoom(Math.exp(-px * (event.ctrlKey ? PINCH : WHEEL)), at(event));
    },
    { passive: false },
  );
  element.addEventListener("dblclick", (event) => taker.doubled(at(event)));
}

/** What one pointer does from when it goes down. */
class Drag {
  /** @param {Taker} taker */
  constructor(taker) {
    this.taker = taker;
    this.kind = /** @type {Kind?} */ (null);
    this.whole = { x: 0, y: 0 };
    this.isDragging = false;
  }

  /** @param {Point} at @param {boolean} isTouch */
  begin(at, isTouch) {
    this.kind = this.taker.begin(at, isTouch);
    this.whole = { x: 0, y: 0 };
  }

  /** @param {Point} before @param {Point} now */
  move(before, now) {
    const by = { x: now.x - before.x, y: now.y - before.y };
    this.whole = { x: this.whole.x + by.x, y: this.whole.y + by.y };
    if (!this.kind) return;
    if (!this.isDragging && Math.hypot(this.whole.x, this.whole.y) < SLACK) return;
    this.taker.drag(this.kind, this.isDragging ? by : this.whole, now);
    this.isDragging = true;
  }

  /** Ends it as if it had led nowhere. */
  cancel() {
    this.whole = { x: 0, y: 0 };
    this.end();
  }

  end() {
    if (this.kind && this.isDragging) this.taker.end(this.kind, this.whole);
    this.kind = null;
    this.isDragging = false;
  }
}

/**
 * Two fingers: what is between them stays there.
 * @param {Taker} taker
 * @param {Point} before
 * @param {Point} now
 * @param {Point} other: the finger that did not move.
 */
function pinch(taker, before, now, other) {
  const far = Math.hypot(before.x - other.x, before.y - other.y);
  const middle = { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 };
  taker.drag("pan", { x: (now.x - before.x) / 2, y: (now.y - before.y) / 2 }, middle);
  if (far) taker.zoom(Math.hypot(now.x - other.x, now.y - other.y) / far, middle);
}
