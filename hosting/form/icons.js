// Small drawings on buttons; what a button does is in its name.

const SVG = "http://www.w3.org/2000/svg";

/** Lines on a square of 24. */
const PATHS = {
  dice: "M5 4h14a1 1 0 0 1 1 1v14a1 1 0 0 1-1 1H5a1 1 0 0 1-1-1V5a1 1 0 0 1 1-1zM8.5 8.5h.01M15.5 8.5h.01M12 12h.01M8.5 15.5h.01M15.5 15.5h.01",
  lock: "M6 11h12v9H6zM8.5 11V7.5a3.5 3.5 0 0 1 7 0V11",
  cross: "M6 6l12 12M18 6L6 18",
  swap: "M4 9h15l-4-4M20 15H5l4 4",
  clock: "M12 4a8 8 0 1 1-8 8M4 5v4h4M12 8v4l3 2",
};

/** @param {keyof typeof PATHS} name */
export function icon(name) {
  const drawing = document.createElementNS(SVG, "svg");
  drawing.setAttribute("viewBox", "0 0 24 24");
  drawing.setAttribute("class", "icon");
  drawing.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  drawing.append(path);
  return drawing;
}
