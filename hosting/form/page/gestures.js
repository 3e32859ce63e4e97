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
  /** @type {Kind?} */
  let kind = null;
  let whole = { x: 0, y: 0 };
  let isDragging = false;

  /** @param {MouseEvent} event */
  const at = (event) => {
    const { left, top } = element.getBoundingClientRect();
    return { x: event.clientX - left, y: event.clientY - top };
  };

  element.addEventListener("pointerdown", (event) => {
    if (event.button || pointers.size === 2) return;
    element.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, at(event));
    if (pointers.size > 1) return cancelDrag();
    kind = taker.begin(at(event), event.pointerType !== "mouse");
    whole = { x: 0, y: 0 };
  });

  element.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    const now = at(event);
    const others = [...pointers].filter(([id]) => id !== event.pointerId);
    pointers.set(event.pointerId, now);
    if (others.length) return pinch(before, now, others[0][1]);
    const by = { x: now.x - before.x, y: now.y - before.y };
    whole = { x: whole.x + by.x, y: whole.y + by.y };
    if (!kind) return;
    if (!isDragging && Math.hypot(whole.x, whole.y) < SLACK) return;
    taker.drag(kind, isDragging ? by : whole, now);
    isDragging = true;
  });

  for (const name of /** @type {const} */ (["pointerup", "pointercancel"]))
    element.addEventListener(name, (event) => {
      if (!pointers.delete(event.pointerId)) return;
      if (name === "pointercancel") cancelDrag();
      else endDrag();
    });

  function cancelDrag() {
    whole = { x: 0, y: 0 };
    endDrag();
  }

  function endDrag() {
    if (kind && isDragging) taker.end(kind, whole);
    kind = null;
    isDragging = false;
  }

  /**
   * Two fingers: what is between them stays there.
   * @param {Point} before
   * @param {Point} now
   * @param {Point} other: the finger that did not move.
   */
  function pinch(before, now, other) {
    const far = Math.hypot(before.x - other.x, before.y - other.y);
    const middle = { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 };
    taker.drag("pan", { x: (now.x - before.x) / 2, y: (now.y - before.y) / 2 }, middle);
    if (far) taker.zoom(Math.hypot(now.x - other.x, now.y - other.y) / far, middle);
  }

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
