// How a strip looks: its cells in a row that may break, or in a table, and how far they are.

import { isOver, isThere, picturesOf, sourcesOf } from "../gallery/predictions.js";
import { setRatio } from "../gallery/tile.js";
import { announce, button, h } from "../page/dom.js";
import { actions } from "./runs.js";

/** @typedef {import("../gallery/predictions.js").Drawn} Drawn */
/** @typedef {import("../gallery/predictions.js").Prediction} Prediction */
/** @typedef {import("./strip.js").Kept} Kept */
/**
 * @typedef {object} Cell
 * @property {HTMLElement} element
 * @property {Prediction?} prediction  as it is now.
 * @property {(text: string) => void} say  says what there is instead of a picture.
 * @property {(prediction: Prediction) => void} update
 * @property {(isGone: boolean) => void} hide  takes away what was deleted, or shows it again.
 */

/**
 * The element of a strip.
 * @param {Kept} kept
 * @param {Cell[]} cells
 * @param {{stop: () => Promise<void>, ungroup: () => void}} ways
 */
export function makeView(kept, cells, { stop, ungroup }) {
  const status = h("p", { class: "status" });
  const bar = h("progress", { "aria-label": "Progress", max: cells.length, value: 0 });
  const stopping = button("Stop all", stop);
  const closing = button("Ungroup", ungroup, { class: "quiet" });
  const title = h("h3", { tabindex: -1, dir: "auto" }, kept.title);
  const fault = h("p", { class: "fault" });
  const element = h(
    "li",
    { class: "card large strip" },
    title,
    h("p", { class: "hint" }, kept.about),
    status,
    bar,
    kept.rows.length ? tableOf(kept, cells) : rowOf(cells),
    fault,
    h("div", { class: "ways" }, stopping, closing),
  );
  return {
    element,
    /** Leads to it. */
    lead() {
      element.scrollIntoView({ block: "nearest" });
      title.focus({ preventScroll: true });
    },
    /** @param {string} text */
    say(text) {
      fault.textContent = text;
      announce(text);
    },
    /**
     * Shows how many are over.
     * @param {boolean} isSending: whether more will be asked for.
     */
    count(isSending) {
      const asked = cells.map(({ prediction }) => prediction).filter((one) => one !== null);
      const over = asked.filter(isOver).length;
      const isAllOver = !isSending && over === asked.length;
      const text = `${over} of ${cells.length} done`;
      if (isAllOver && !bar.hidden && over) announce(`${kept.title}: ${text}`);
      if (isAllOver && document.activeElement === stopping) title.focus();
      bar.value = over;
      bar.hidden = stopping.hidden = isAllOver;
      closing.hidden = !isAllOver;
      status.textContent = text;
      status.hidden = isAllOver && over === cells.length;
    },
  };
}

/** @param {Cell[]} cells */
const rowOf = (cells) =>
  h("ul", { class: "cells" }, ...cells.map(({ element }) => h("li", {}, element)));

/**
 * @param {Kept} kept
 * @param {Cell[]} cells
 */
function tableOf({ title, columns, rows }, cells) {
  const head = columns.map((text) => h("th", { scope: "col" }, text));
  const table = h(
    "table",
    {},
    h("thead", {}, h("tr", {}, h("td"), ...head)),
    h(
      "tbody",
      {},
      ...rows.map((text, row) => {
        const some = cells.slice(row * columns.length, (row + 1) * columns.length);
        return h(
          "tr",
          {},
          h("th", { scope: "row" }, text),
          ...some.map(({ element }) => h("td", {}, element)),
        );
      }),
    ),
  );
  return h("div", { class: "scroller", tabindex: 0, role: "region", "aria-label": title }, table);
}

/**
 * @param {string} name
 * @returns {Cell}
 */
export function makeCell(name) {
  const content = h("div", { class: "cell" });
  const element = h("figure", {}, content, h("figcaption", { class: "hint" }, name));
  /** @type {Cell} */
  const cell = {
    element,
    prediction: null,
    say(text) {
      const box = content.querySelector(".coming") ?? h("div", { class: "coming" });
      box.textContent = text;
      if (!box.parentElement) content.replaceChildren(box);
    },
    update(now) {
      const wasOver = cell.prediction !== null && isOver(cell.prediction);
      cell.prediction = now;
      if (!isOver(now)) cell.say(statusOf(now));
      else if (!wasOver || content.querySelector(".coming"))
        content.replaceChildren(...resultOf(cell, now, name));
    },
    hide(isGone) {
      if (isGone) cell.say("Deleted");
      else if (cell.prediction) cell.update(cell.prediction);
    },
  };
  cell.say("Waiting");
  return cell;
}

/** @param {Prediction} prediction */
function statusOf({ status, metrics }) {
  const progress = status === "processing" && metrics?.progress;
  return progress ? `Step ${progress.step} of ${progress.steps}` : "Waiting";
}

/**
 * What has become of a prediction.
 * @param {Cell} cell
 * @param {Prediction} prediction
 * @param {string} name
 * @returns {HTMLElement[]}
 */
function resultOf(cell, prediction, name) {
  const { status, error } = prediction;
  if (status !== "succeeded")
    return [h("div", { class: "left-out" }, status === "failed" ? (error ?? "Failed") : "Stopped")];
  return picturesOf(prediction).flatMap((drawn) => pictureOf(cell, drawn, name));
}

/**
 * @param {Cell} cell
 * @param {Drawn} drawn
 * @param {string} name
 * @returns {HTMLElement[]}
 */
function pictureOf(cell, drawn, name) {
  if (!isThere(drawn))
    return [h("div", { class: "left-out" }, "Left out: the NSFW checker flagged it")];
  const look = button("", () => cell.prediction && actions.view(cell.prediction, drawn.index), {
    class: "picture",
    "aria-label": `${name}: look closer`,
  });
  const image = h("img", { ...sourcesOf(drawn), sizes: "auto, 13rem", alt: name, loading: "lazy" });
  if (drawn.size) setRatio(look, drawn.size[0] / drawn.size[1]);
  else
    image.addEventListener("load", () => setRatio(look, image.naturalWidth / image.naturalHeight));
  look.append(image);
  const take = button(
    "Use its settings",
    () => cell.prediction && actions.reuse(cell.prediction, drawn),
    {
      class: "quiet",
      "aria-label": `Use the settings of ${name}`,
    },
  );
  return [look, take];
}
