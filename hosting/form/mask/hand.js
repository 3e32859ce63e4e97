// The hand that paints a mask: by mouse, pen, finger or keyboard.

import { announce } from "../page/dom.js";

/** @typedef {import("./layer.js").Point} Point */
/** @typedef {import("./layer.js").Layer} Layer */
/** @typedef {import("./stage.js").Stage} Stage */
/** @typedef {import("./tools.js").Tools} Tools */
/** @typedef {ReturnType<typeof makeGesture>} Gesture */

const ARROWS = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

/**
 * Has what the hand does paint.
 * @param {HTMLElement} dialog
 * @param {Layer} layer
 * @param {Stage} stage
 * @param {Tools} tools
 * @param {AbortSignal} signal: ends it.
 */
export function listenToHand(dialog, layer, stage, tools, signal) {
  const gesture = makeGesture(layer, stage, tools);
  const held = holdingOfSpace(dialog, layer.canvas, signal);
  listenToPointers(layer.canvas, stage, tools, gesture, held);
  listenToKeys(layer.canvas, stage, tools, gesture);
  stage.element.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && tools.kind() !== "brush") return; // it scrolls
      event.preventDefault();
      if (event.ctrlKey)
        stage.zoomTo(stage.zoom() * Math.exp(-event.deltaY / 200), event.clientX, event.clientY);
      else {
        tools.resize(-Math.sign(event.deltaY));
        stage.point(stage.pointAt(event), tools.brush());
      }
    },
    { passive: false },
  );
}

/**
 * What is being painted.
 * @param {Layer} layer
 * @param {Stage} stage
 * @param {Tools} tools
 */
function makeGesture(layer, stage, tools) {
  /** @type {{kind: string, points: Point[], size: number, isErasing: boolean} | null} */
  let now = null;

  /** @returns {import("./layer.js").Deed?} */
  const deed = () => {
    if (!now) return null;
    const { kind, points, size, isErasing } = now;
    if (kind === "brush") return { points, size, isErasing };
    const corners = kind === "lasso" ? points : rectangle(points[0], points[points.length - 1]);
    return { corners, isErasing };
  };
  const showOutline = () => {
    const area = deed();
    stage.mark(area && typeof area === "object" && "corners" in area ? area.corners : []);
  };
  const end = () => {
    now = null;
    showOutline();
  };

  return {
    isOn: () => now !== null,
    /** @param {Point} point */
    begin(point) {
      now = {
        kind: tools.kind(),
        points: [point],
        size: tools.brush(),
        isErasing: tools.isErasing(),
      };
      const begun = deed();
      if (begun && now.kind === "brush") layer.sketch(begun);
    },
    /** @param {Point[]} points */
    extend(points) {
      if (!now) return;
      const last = now.points.slice(-1);
      now.points.push(...points);
      if (now.kind === "brush") layer.sketch({ ...now, points: [...last, ...points] });
      else showOutline();
    },
    finish() {
      const finished = deed();
      const isDot = now && now.kind !== "brush" && now.points.length < 2;
      end();
      if (finished && !isDot) layer.act(finished);
    },
    cancel() {
      end();
      layer.redraw();
    },
  };
}

/**
 * @param {Point} one
 * @param {Point} other: the corner across from it.
 * @returns {Point[]}
 */
const rectangle = ([left, top], [right, bottom]) => [
  [left, top],
  [right, top],
  [right, bottom],
  [left, bottom],
];

/**
 * Whether Space is held.
 * @param {HTMLElement} dialog
 * @param {HTMLCanvasElement} canvas: looks like it.
 * @param {AbortSignal} signal
 */
function holdingOfSpace(dialog, canvas, signal) {
  let isHolding = false;
  /** @param {boolean} isHeld */
  const hold = (isHeld) => {
    isHolding = isHeld;
    canvas.classList.toggle("held", isHeld);
  };
  dialog.addEventListener("keydown", ({ key }) => key === " " && hold(true));
  dialog.addEventListener("keyup", ({ key }) => key === " " && hold(false));
  window.addEventListener("blur", () => hold(false), { signal });
  return () => isHolding;
}

/**
 * One pointer paints, or moves the paper while Space is held; two fingers move it and zoom.
 * @param {HTMLCanvasElement} canvas
 * @param {Stage} stage
 * @param {Tools} tools
 * @param {Gesture} gesture
 * @param {() => boolean} isHolding: Space.
 */
function listenToPointers(canvas, stage, tools, gesture, isHolding) {
  const pointers = /** @type {Map<number, PointerEvent>} */ (new Map());
  let isMoving = false;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button > 1) return;
    event.preventDefault(); // the middle button would scroll
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, event);
    isMoving = isHolding() || event.button === 1 || pointers.size > 1;
    if (pointers.size > 1) gesture.cancel();
    else if (!isMoving) gesture.begin(stage.pointAt(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    stage.point(stage.pointAt(event), tools.brush());
    stage.showCursor(false);
    if (!pointers.has(event.pointerId)) return;
    if (isMoving) {
      const before = middleOf(pointers);
      pointers.set(event.pointerId, event);
      const now = middleOf(pointers);
      stage.element.scrollBy(before.x - now.x, before.y - now.y);
      if (pointers.size > 1)
        stage.zoomTo((stage.zoom() * now.apart) / Math.max(before.apart, 1), now.x, now.y);
    } else {
      const passed = event.getCoalescedEvents?.() ?? [];
      gesture.extend((passed.length ? passed : [event]).map(stage.pointAt));
    }
  });
  for (const kind of /** @type {const} */ (["pointerup", "pointercancel"]))
    canvas.addEventListener(kind, (event) => {
      pointers.delete(event.pointerId);
      if (isMoving) isMoving = pointers.size > 0;
      else if (kind === "pointerup") gesture.finish();
      else gesture.cancel();
    });
}

/**
 * The middle of pointers in the window, and how far the first two are apart.
 * @param {Map<number, PointerEvent>} pointers
 */
function middleOf(pointers) {
  const [one, other = one] = pointers.values();
  return {
    x: (one.clientX + other.clientX) / 2,
    y: (one.clientY + other.clientY) / 2,
    apart: Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY),
  };
}

/**
 * Arrow keys move the brush, Enter puts it down and lifts it.
 * @param {HTMLCanvasElement} canvas
 * @param {Stage} stage
 * @param {Tools} tools
 * @param {Gesture} gesture
 */
function listenToKeys(canvas, stage, tools, gesture) {
  /** @type {Point} */
  let place = [canvas.width / 2, canvas.height / 2];
  canvas.addEventListener("keydown", (event) => {
    const { key, shiftKey } = event;
    if (key === " ") return event.preventDefault(); // it would scroll
    const arrow = ARROWS[/** @type {keyof typeof ARROWS} */ (key)];
    if (arrow) {
      const step = shiftKey ? 1 : Math.max(1, Math.min(canvas.width, canvas.height) / 40);
      place = [
        Math.min(canvas.width, Math.max(0, place[0] + arrow[0] * step)),
        Math.min(canvas.height, Math.max(0, place[1] + arrow[1] * step)),
      ];
      gesture.extend([place]);
    } else if (key === "Enter") {
      if (gesture.isOn()) gesture.finish();
      else gesture.begin(place);
      const at = place.map(Math.round).join(", ");
      announce(gesture.isOn() ? `Painting from ${at}` : `Painted to ${at}`);
    } else if (key === "Escape" && gesture.isOn()) gesture.cancel();
    else return;
    event.preventDefault();
    stage.point(place, tools.brush());
    stage.showCursor(true);
  });
}
