// The painting of a mask over a picture: by mouse, pen or finger.

import { announce, button, contextOf, h } from "./dom.js";

/** Side of the brush at its largest, as a share of the picture's shorter side. */
const LARGEST_BRUSH = 0.5;
const CLOSEST = 8;

/** @typedef {import("./picture.js").Picture} Picture */
/** @typedef {[number, number]} Point  of the picture, in its pixels. */
/** @typedef {{points: Point[], size: number, isErasing: boolean}} Stroke */
/** @typedef {Stroke | "clear" | "invert"} Deed */

/**
 * Has the person paint what is to be repainted.
 * @param {import("./picture.js").SizedPicture} picture: what is painted on.
 * @param {Picture?} mask: what was painted before, or a mask from elsewhere.
 * @returns {Promise<Picture?>} white where it was painted, else black, of
 *   the picture's size; null if the person goes back.
 */
export async function paintMask(picture, mask) {
  const { width, height } = picture;
  const canvas = h("canvas", { width, height });
  const context = contextOf(canvas);
  const image = h("img", { src: picture.url, alt: "" });
  const cursor = h("div", { class: "brush" });
  const paper = h("div", { class: "paper" }, image, canvas, cursor);
  const stage = h("div", { class: "stage" }, paper);
  const base = mask && (await painted(mask, width, height));
  /** @type {Deed[]} */
  const done = [];
  /** @type {Deed[]} */
  let undone = [];
  let zoom = 1;
  let isErasing = false;

  // Everything that was done is drawn again to undo one thing: a stroke takes less room than a copy.
  /** @param {Deed} deed */
  const draw = (deed) => {
    context.globalCompositeOperation = "source-over";
    context.fillStyle = context.strokeStyle = "#e5484d";
    if (deed === "clear") context.clearRect(0, 0, width, height);
    else if (deed === "invert") {
      context.globalCompositeOperation = "xor";
      context.fillRect(0, 0, width, height);
    } else {
      if (deed.isErasing) context.globalCompositeOperation = "destination-out";
      context.lineWidth = deed.size;
      context.lineCap = context.lineJoin = "round";
      context.beginPath();
      // A line without a length would not be drawn.
      context.arc(...deed.points[0], deed.size / 2, 0, 2 * Math.PI);
      context.fill();
      context.beginPath();
      context.moveTo(...deed.points[0]);
      for (const point of deed.points) context.lineTo(...point);
      context.stroke();
    }
  };
  const redraw = () => {
    draw("clear");
    if (base) context.drawImage(base, 0, 0);
    for (const deed of done) draw(deed);
    show();
  };
  /** @param {Deed} deed */
  const act = (deed) => {
    done.push(deed);
    undone = [];
    redraw();
  };
  /**
   * @param {Deed[]} from
   * @param {Deed[]} to
   */
  const move = (from, to) => {
    const last = from.pop();
    if (last) to.push(last);
    redraw();
  };

  const size = h("input", {
    type: "range",
    min: 1,
    max: 100,
    value: 25,
    "aria-label": "Size of the brush",
  });
  const brushSize = () =>
    Math.max(2, (Number(size.value) / 100) * LARGEST_BRUSH * Math.min(width, height));
  /**
   * @param {string} text
   * @param {boolean} erases
   */
  const tool = (text, erases) =>
    button(text, () => {
      isErasing = erases;
      show();
    });
  const [brush, eraser] = [tool("Brush", false), tool("Eraser", true)];
  const undo = button("Undo", () => move(done, undone));
  const redo = button("Redo", () => move(undone, done));
  const clear = button("Clear", () => act("clear"));
  const closer = button("+", () => zoomTo(zoom * 1.5), { "aria-label": "Zoom in" });
  const farther = button("−", () => zoomTo(zoom / 1.5), { "aria-label": "Zoom out" });

  function show() {
    brush.setAttribute("aria-pressed", String(!isErasing));
    eraser.setAttribute("aria-pressed", String(isErasing));
    // Not disabled: that would take the focus from whoever presses it.
    undo.setAttribute("aria-disabled", String(!done.length));
    redo.setAttribute("aria-disabled", String(!undone.length));
    farther.setAttribute("aria-disabled", String(zoom <= 1));
    closer.setAttribute("aria-disabled", String(zoom >= CLOSEST));
  }

  /**
   * Zooms; what is shown at a point of the window stays there.
   * @param {number} wanted
   */
  function zoomTo(wanted, x = middle(stage, "left", "width"), y = middle(stage, "top", "height")) {
    const before = paper.getBoundingClientRect();
    zoom = Math.min(CLOSEST, Math.max(1, wanted));
    const fitting = Math.min(stage.clientWidth / width, stage.clientHeight / height);
    paper.style.width = `${width * fitting * zoom}px`;
    paper.style.height = `${height * fitting * zoom}px`;
    const now = paper.getBoundingClientRect();
    stage.scrollBy(
      now.left + ((x - before.left) / before.width) * now.width - x,
      now.top + ((y - before.top) / before.height) * now.height - y,
    );
    show();
  }

  // Pointers: one paints, two fingers move the paper.
  const pointers = /** @type {Map<number, PointerEvent>} */ (new Map());
  /** @type {Stroke?} */
  let stroke = null;
  /**
   * @param {PointerEvent} event
   * @returns {Point}
   */
  const place = ({ clientX, clientY }) => {
    const box = canvas.getBoundingClientRect();
    return [
      ((clientX - box.left) * width) / box.width,
      ((clientY - box.top) * height) / box.height,
    ];
  };
  const fingers = () => {
    const [one, other] = [...pointers.values()];
    return {
      apart: Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY),
      x: (one.clientX + other.clientX) / 2,
      y: (one.clientY + other.clientY) / 2,
    };
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, event);
    stroke = pointers.size === 1 ? { points: [place(event)], size: brushSize(), isErasing } : null;
    redraw();
    if (stroke) draw(stroke);
  });
  canvas.addEventListener("pointermove", (event) => {
    const [x, y] = place(event);
    cursor.style.left = `${(100 * x) / width}%`;
    cursor.style.top = `${(100 * y) / height}%`;
    cursor.style.width = `${(100 * brushSize()) / width}%`;
    if (!pointers.has(event.pointerId)) return;
    if (pointers.size === 2) {
      const before = fingers();
      pointers.set(event.pointerId, event);
      const now = fingers();
      stage.scrollBy(before.x - now.x, before.y - now.y);
      zoomTo((zoom * now.apart) / Math.max(before.apart, 1), now.x, now.y);
    } else if (stroke) {
      const passed = event.getCoalescedEvents?.() ?? [];
      const added = (passed.length ? passed : [event]).map(place);
      draw({ ...stroke, points: [...stroke.points.slice(-1), ...added] });
      stroke.points.push(...added);
    }
  });
  for (const kind of /** @type {const} */ (["pointerup", "pointercancel"]))
    canvas.addEventListener(kind, (event) => {
      pointers.delete(event.pointerId);
      if (stroke && kind === "pointerup") act(stroke);
      stroke = null;
      if (kind === "pointercancel") redraw();
    });
  stage.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      zoomTo(zoom * Math.exp(-event.deltaY / 200), event.clientX, event.clientY);
    },
    { passive: false },
  );

  const hint = h("span", { class: "hint" }, "What you paint is repainted; the rest stays.");
  const dialog = h(
    "dialog",
    { class: "editor", "aria-label": "Paint what is to be repainted" },
    h(
      "div",
      { class: "tools", role: "toolbar", "aria-label": "Tools" },
      brush,
      eraser,
      size,
      undo,
      redo,
      button("Invert", () => act("invert")),
      clear,
      farther,
      closer,
    ),
    stage,
    h(
      "div",
      { class: "buttons" },
      hint,
      h("span", { class: "unseen", role: "status" }),
      button("Back", leave),
      button("Use this mask", use, { class: "primary" }),
    ),
  );

  function use() {
    const { data } = context.getImageData(0, 0, width, height);
    if (data.some((value, place) => place % 4 === 3 && value > 127)) dialog.close("use");
    else {
      hint.textContent = "Nothing is painted yet. What you paint is repainted.";
      announce(hint.textContent);
    }
  }

  function leave() {
    if (!done.length || confirm("Go back without what you have painted?")) dialog.close();
  }

  dialog.addEventListener("cancel", (event) => {
    event.preventDefault();
    leave();
  });
  dialog.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z") return;
    event.preventDefault();
    (event.shiftKey ? redo : undo).click();
  });
  const resized = new ResizeObserver(() => zoomTo(zoom));
  document.body.append(dialog);
  dialog.showModal();
  zoomTo(1);
  redraw();
  resized.observe(stage);
  await new Promise((closed) => dialog.addEventListener("close", closed));
  resized.disconnect();
  dialog.remove();
  return dialog.returnValue === "use" ? masked(canvas) : null;
}

/**
 * @param {Element} element
 * @param {"left" | "top"} side
 * @param {"width" | "height"} length
 */
function middle(element, side, length) {
  const box = element.getBoundingClientRect();
  return box[side] + box[length] / 2;
}

/**
 * What is white in a mask, in the colour that is painted with; fitted like the server does.
 * @param {Picture} mask
 * @param {number} width
 * @param {number} height
 */
async function painted(mask, width, height) {
  const bitmap = await createImageBitmap(mask.blob);
  const canvas = new OffscreenCanvas(width, height);
  const context = contextOf(canvas, { willReadFrequently: true });
  const scale = Math.max(width / bitmap.width, height / bitmap.height);
  const [w, h] = [bitmap.width * scale, bitmap.height * scale];
  context.drawImage(bitmap, (width - w) / 2, (height - h) / 2, w, h);
  const pixels = context.getImageData(0, 0, width, height);
  for (let at = 0; at < pixels.data.length; at += 4) {
    const [red, green, blue, alpha] = pixels.data.subarray(at, at + 4);
    const grey = 0.299 * red + 0.587 * green + 0.114 * blue;
    const isWhite = (grey * alpha) / 255 >= 128;
    pixels.data.set([229, 72, 77, isWhite ? 255 : 0], at);
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

/**
 * The mask that was painted on a canvas.
 * @param {HTMLCanvasElement} canvas
 */
async function masked(canvas) {
  const { width, height } = canvas;
  const made = new OffscreenCanvas(width, height);
  const context = contextOf(made);
  context.drawImage(canvas, 0, 0);
  context.globalCompositeOperation = "source-in";
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.globalCompositeOperation = "destination-over";
  context.fillStyle = "black";
  context.fillRect(0, 0, width, height);
  const blob = await made.convertToBlob();
  return { blob, name: "mask.png", width, height, url: URL.createObjectURL(blob) };
}
