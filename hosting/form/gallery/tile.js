// A picture as a tile: it opens the viewer, and what can be done with it is on it.

import { h } from "../page/dom.js";
import { icon } from "../page/icons.js";
import { trying } from "../page/toast.js";
import { isFavourite, toggleFavourite } from "./favourites.js";
import { download, isThere, sourcesOf } from "./predictions.js";

/** Milliseconds after which a touch is a long one. */
const LONG_PRESS = 500;
/** Pixels that a finger that holds still may move. */
const STILL = 10;

/** How high a tile is in rem, at most, on a large card and in the rows. */
const LARGE = 24;
const SMALL = 12;

/** @typedef {import("./predictions.js").Prediction} Prediction */
/** @typedef {import("./predictions.js").Drawn} Drawn */
/** @typedef {import("./predictions.js").ThereDrawn} ThereDrawn */

/**
 * The card that a tile is on.
 * @typedef {object} Host
 * @property {() => Prediction} prediction  as it is now.
 * @property {import("./predictions.js").Actions} actions
 * @property {(text: string, act: import("../page/dom.js").Listener, properties?: object) => HTMLButtonElement} button
 *   whose failure is said.
 */
/**
 * A tile.
 * @typedef {object} Tile
 * @property {HTMLElement} element
 * @property {(drawn: Drawn) => void} update  takes newer links to the same picture.
 * @property {(isLarge: boolean) => void} fit  loads as many pixels as its card's size takes.
 * @property {() => void} mark  shows whether it is a favourite.
 */

/** What a picture is called. @param {Prediction} prediction @param {number} index */
const nameOf = ({ input }, index) => `Picture ${index + 1} of ${input.prompt || "no prompt"}`;

/** @param {Drawn} drawn */
const seedOf = ({ seed }) => h("span", { class: "hint seed" }, seed === null ? "" : `seed ${seed}`);

/**
 * A tile of what a prediction has drawn.
 * @param {Drawn} drawn
 * @param {Host} host
 * @returns {Tile}
 */
export function makeTile(drawn, host) {
  if (isThere(drawn)) return pictureTile(drawn, host);
  const words = h("div", { class: "left-out" }, "Left out: the NSFW checker flagged it");
  return {
    element: h("li", { class: "tile" }, words, seedOf(drawn)),
    update() {},
    fit() {},
    mark() {},
  };
}

/**
 * @param {ThereDrawn} drawn
 * @param {Host} host
 * @returns {Tile}
 */
function pictureTile(drawn, host) {
  const words = nameOf(host.prediction(), drawn.index);
  const image = h("img", {
    ...sourcesOf(drawn),
    sizes: "auto, 22rem",
    alt: words,
    loading: "lazy",
  });
  const view = host.button("", () => host.actions.view(host.prediction(), drawn.index), {
    class: "picture",
    "aria-label": `${words}: look closer`,
  });
  view.append(image);
  const menu = menuButton(words, host);
  const star = starButton(words, host, drawn.index);
  const bar = h("div", { class: "bar" }, ...shortcuts(words, host, () => drawn), menu);
  const element = h("li", { class: "tile" }, view, star, bar, seedOf(drawn));
  if (drawn.size) setRatio(element, drawn.size[0] / drawn.size[1]);
  else
    image.addEventListener("load", () =>
      setRatio(element, image.naturalWidth / image.naturalHeight),
    );
  const renew = () => {
    if (image.getAttribute("src") === drawn.url) return;
    image.removeAttribute("srcset"); // its links have expired: these are newer
    image.src = drawn.url;
  };
  image.addEventListener("error", renew);
  /** @param {HTMLElement} anchor */
  const opening = (anchor) =>
    trying(async () => {
      const { openTileMenu } = await import("./tile-menu.js");
      openTileMenu(anchor, host, drawn);
    });
  menu.addEventListener("click", opening(menu));
  onLongPress(view, opening(view));
  const tile = {
    element,
    /** @param {Drawn} newer */
    update(newer) {
      if (isThere(newer)) drawn = newer;
      if (image.complete && !image.naturalWidth) renew(); // it has failed before they came
    },
    /** @param {boolean} isLarge */
    fit(isLarge) {
      const [width, height] = drawn.size ?? [1, 1];
      image.sizes = `${((isLarge ? LARGE : SMALL) * width) / height}rem`;
    },
    mark() {
      const isOn = isFavourite(host.prediction(), drawn.index);
      star.setAttribute("aria-pressed", String(isOn));
    },
  };
  tile.mark();
  return tile;
}

/**
 * The shape of a tile, before its picture is there.
 * @param {HTMLElement} element
 * @param {number} ratio: width by height.
 */
export function setRatio(element, ratio) {
  if (ratio > 0 && Number.isFinite(ratio)) element.style.setProperty("--ratio", ratio.toFixed(4));
}

/**
 * The three most used ways on. They are short cuts of the mouse: keys have them in the menu.
 * @param {string} words
 * @param {Host} host
 * @param {() => ThereDrawn} drawn
 */
function shortcuts(words, { actions, button }, drawn) {
  const { useAsInput, paintOn } = actions;
  /** @type {[string, import("../page/icons.js").Icon, ((drawn: ThereDrawn) => unknown) | undefined][]} */
  const ways = [
    ["Download", "download", download],
    ["Use as input", "input", useAsInput],
    ["Paint on it", "paint", paintOn],
  ];
  return ways.flatMap(([name, sign, act]) => {
    if (!act) return [];
    const way = button("", () => act(drawn()), {
      title: name,
      tabindex: -1,
      "aria-label": `${name}: ${words}`,
    });
    way.append(icon(sign), h("span", {}, name));
    return [way];
  });
}

/**
 * @param {string} words
 * @param {Host} host
 */
function menuButton(words, { button }) {
  const menu = button("", () => {}, {
    class: "menu-button",
    title: "More",
    "aria-haspopup": "menu",
    "aria-label": `What to do with it: ${words}`,
  });
  menu.append(icon("more"));
  return menu;
}

/**
 * @param {string} words
 * @param {Host} host
 * @param {number} index
 */
function starButton(words, { button, prediction }, index) {
  const star = button("", () => toggleFavourite(prediction(), index), {
    class: "star",
    title: "Favourite",
    tabindex: -1,
    "aria-label": `Favourite: ${words}`,
  });
  star.append(icon("star"));
  return star;
}

/**
 * Calls a listener for a long touch, and for the key that opens menus.
 * @param {HTMLElement} element
 * @param {() => unknown} listener
 */
function onLongPress(element, listener) {
  let timer = 0;
  let isLong = false;
  let start = { x: 0, y: 0 };
  const end = () => clearTimeout(timer);
  element.addEventListener("pointerdown", ({ pointerType, clientX, clientY }) => {
    isLong = false;
    if (pointerType === "mouse") return;
    start = { x: clientX, y: clientY };
    timer = setTimeout(() => {
      isLong = true;
      listener();
    }, LONG_PRESS);
  });
  element.addEventListener("pointermove", ({ clientX, clientY }) => {
    if (Math.hypot(clientX - start.x, clientY - start.y) > STILL) end();
  });
  for (const kind of ["pointerup", "pointercancel"]) element.addEventListener(kind, end);
  element.addEventListener("contextmenu", (event) => {
    // That of the mouse is the browser's own: it saves, copies and opens.
    if (/** @type {PointerEvent} */ (event).pointerType !== "mouse") event.preventDefault();
  });
  element.addEventListener("keydown", (event) => {
    if (event.key !== "ContextMenu" && !(event.key === "F10" && event.shiftKey)) return;
    event.preventDefault();
    listener();
  });
  // The finger that is lifted afterwards presses nothing.
  for (const kind of ["touchend", "click"])
    element.addEventListener(
      kind,
      (event) => {
        if (!isLong) return;
        isLong = kind !== "click";
        event.preventDefault();
        event.stopImmediatePropagation();
      },
      { capture: true },
    );
}
