// Small signs beside words, or in their place where there is no room for words.

const SVG = "http://www.w3.org/2000/svg";

/** The strokes of each, in a square of 24. */
const PATHS = {
  download: "M12 4v11m-5-5 5 5 5-5M5 20h14",
  input: "M14 4h6v16h-6M4 12h11m-4-4 4 4-4 4",
  paint: "M20 4 9 15m-1 0c-2 0-3 1.5-3 3 0 1-1 2-2 2 3 1 7 0 7-3 0-1-1-2-2-2Z",
  star: "m12 3 2.7 5.8 6.3.8-4.6 4.3 1.2 6.2-5.6-3.1-5.6 3.1 1.2-6.2L3 9.6l6.3-.8Z",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  vary: "M4 4h10v10H4zM10 18v2h10V10h-2",
  enlarge: "M14 4h6v6m0-6-7 7M10 20H4v-6m0 6 7-7",
  extend: "M8 8h8v8H8zM4 7V4h3m10 0h3v3m0 10v3h-3M7 20H4v-3",
  copy: "M9 9h11v11H9zM15 9V4H4v11h5",
  settings: "M4 7h9m6 0h1M4 17h1m6 0h9M16 4.5v5M8 14.5v5",
  share:
    "M8 12 16 7m-8 5 8 5M6 14a2 2 0 1 0 0-4 2 2 0 0 0 0 4Zm12-6a2 2 0 1 0 0-4 2 2 0 0 0 0 4Zm0 12a2 2 0 1 0 0-4 2 2 0 0 0 0 4Z",
  dice: "M4 4h16v16H4zM8.5 8.5h.01M15.5 8.5h.01M12 12h.01M8.5 15.5h.01M15.5 15.5h.01",
  lock: "M6 11h12v9H6zM8.5 11V7.5a3.5 3.5 0 0 1 7 0V11",
  cross: "M6 6l12 12M18 6 6 18",
  swap: "M4 9h15l-4-4M20 15H5l4 4",
  clock: "M12 4a8 8 0 1 1-8 8M4 5v4h4M12 8v4l3 2",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
};

/** @typedef {keyof typeof PATHS} Icon */

/**
 * An icon, which says nothing by itself.
 * @param {Icon} name
 */
export function icon(name) {
  const sign = document.createElementNS(SVG, "svg");
  sign.setAttribute("viewBox", "0 0 24 24");
  sign.setAttribute("class", "icon");
  sign.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  sign.append(path);
  return sign;
}
