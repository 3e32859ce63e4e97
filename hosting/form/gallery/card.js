// A prediction as a card: how far it is, its pictures, and what can be done with it.

import { arrangeChildren, button, contextOf, copy, h } from "../page/dom.js";
import { icon } from "../page/icons.js";
import { trying } from "../page/toast.js";
import { aboutOf, notesOf, statusOf } from "./prediction-words.js";
import {
  countOf,
  isInVain,
  isOver,
  picturesOf,
  ratioOf,
  settingsOf,
  thereOf,
} from "./predictions.js";
import { makeTile, setRatio } from "./tile.js";

/** @typedef {import("./predictions.js").Actions} Actions */
/** @typedef {import("./predictions.js").Prediction} Prediction */
/** @typedef {import("./tile.js").Host} Host */

/**
 * A card.
 * @typedef {object} Card
 * @property {HTMLElement} element
 * @property {(prediction: Prediction) => void} update  shows a prediction as it is now. What has
 *   not changed stays, and keeps the focus.
 * @property {(index: number, url: string) => void} preview  shows how an image looks so far.
 * @property {(isLarge: boolean) => void} fit  makes it large, or as small as its pictures.
 * @property {() => void} age  says anew how long ago it was.
 * @property {() => void} mark  shows which pictures are favourites.
 */

/**
 * A card.
 * @param {Prediction} prediction
 * @param {Actions} actions
 * @returns {Card}
 */
export function makeCard(prediction, actions) {
  const parts = makeParts();
  const { element, about } = parts;
  element.dataset.id = prediction.id;
  /** @type {Host} */
  const host = {
    prediction: () => prediction,
    actions,
    button: (text, act, properties) => button(text, trying(act), properties),
  };
  const ways = makeWays(host);
  const pictures = makePictures(parts.grid, host);
  element.append(ways.element);
  /** @type {Card} */
  const card = {
    element,
    update(now) {
      prediction = now;
      keepFocus(element, () => {
        show(now, parts);
        pictures.update(now);
        ways.update(now);
      });
    },
    preview: pictures.preview,
    fit(isLarge) {
      if (isLarge !== element.classList.contains("large"))
        keepFocus(element, () => element.classList.toggle("large", isLarge));
      pictures.fit(isLarge);
    },
    age() {
      about.textContent = aboutOf(prediction);
    },
    mark: pictures.mark,
  };
  card.update(prediction);
  return card;
}

/** The parts of a card that only say something. */
function makeParts() {
  const prompt = h("h3", { dir: "auto", class: "prompt" });
  const about = h("p", { class: "hint about" });
  const status = h("p", { class: "status" });
  const bar = h("progress", { "aria-label": "Progress" });
  const grid = h("ul", { class: "grid" });
  const notes = h("ul", { class: "notes" });
  const fault = h("p", { class: "fault" });
  const element = h(
    "li",
    { class: "card", tabindex: -1 },
    prompt,
    about,
    status,
    bar,
    grid,
    notes,
    fault,
  );
  return { element, prompt, about, status, bar, grid, notes, fault };
}

/**
 * @param {Prediction} now
 * @param {ReturnType<typeof makeParts>} parts
 */
function show(now, { element, prompt, about, status, bar, notes, fault }) {
  element.dataset.status = now.status;
  prompt.textContent = now.input.prompt || "Without a prompt";
  about.textContent = aboutOf(now);
  status.textContent = statusOf(now);
  status.hidden = now.status === "succeeded";
  bar.hidden = isOver(now);
  const progress = now.metrics?.progress;
  if (now.status === "processing") bar.value = progress ? progress.step / progress.steps : 0;
  else bar.removeAttribute("value");
  const said = notesOf(now);
  if (said.join("\n") !== [...notes.children].map((one) => one.textContent).join("\n"))
    notes.replaceChildren(...said.map((note) => h("li", { class: "notice" }, note)));
  fault.textContent = (now.error ?? "").trim();
}

/**
 * What can be done with the prediction, as buttons.
 * @param {Host} host
 */
function makeWays({ prediction, actions, button }) {
  const { stop, tryAgain, share, saveAll, remove } = actions;
  const quiet = { class: "quiet" };
  const stopping = button("Stop", () => stop?.(prediction()), { class: "stop" });
  const again = button("Try again", () => tryAgain?.(prediction()), { class: "again" });
  const sharing = button("Share", () => share?.(prediction()), quiet);
  const saving = button("Download all", () => saveAll?.(prediction()), quiet);
  const removing = button("", () => remove?.(prediction()), {
    class: "quiet remove",
    title: "Delete",
    "aria-label": "Delete",
  });
  removing.append(icon("trash"));
  const element = h(
    "div",
    { class: "ways" },
    stopping,
    again,
    button("Use its settings", () => actions.reuse(prediction()), quiet),
    button("Copy settings", ({ target }) => copy(settingsOf(prediction()), target), quiet),
    sharing,
    saving,
    removing,
  );
  return {
    element,
    /** @param {Prediction} now */
    update(now) {
      stopping.hidden = isOver(now) || !stop;
      again.hidden = !isInVain(now) || !tryAgain;
      sharing.hidden = !thereOf(now).length || !share;
      saving.hidden = thereOf(now).length < 2 || !saveAll;
      removing.hidden = !isOver(now) || !remove;
    },
  };
}

/**
 * The pictures of a card, and the places of those that are still drawn.
 * @param {HTMLElement} grid
 * @param {Host} host
 */
function makePictures(grid, host) {
  const tiles = /** @type {Map<number, import("./tile.js").Tile>} */ (new Map());
  const places = /** @type {Map<number, ReturnType<typeof makePlace>>} */ (new Map());
  let isLarge = true;

  /** @param {number} index */
  function placeOf(index) {
    const place = places.get(index) ?? makePlace(ratioOf(host.prediction()));
    places.set(index, place);
    return place;
  }

  /** @param {Prediction} now */
  function update(now) {
    const drawn = picturesOf(now);
    for (const index of tiles.keys())
      if (!drawn.some((one) => one.index === index)) tiles.delete(index); // it was begun again
    for (const picture of drawn) {
      const tile = tiles.get(picture.index);
      if (tile) tile.update(picture);
      else {
        const made = makeTile(picture, host);
        made.fit(isLarge);
        tiles.set(picture.index, made);
      }
    }
    const shown = new Map([...tiles].map(([index, { element }]) => [index, element]));
    if (now.status === "processing")
      for (let index = 0; index < countOf(now); index++)
        if (!tiles.has(index)) shown.set(index, placeOf(index).element);
    const inOrder = [...shown].sort(([one], [other]) => one - other).map(([, element]) => element);
    arrangeChildren(grid, inOrder);
    if (isOver(now)) places.clear();
  }

  return {
    update,
    /** @param {number} index @param {string} url */
    preview: (index, url) => places.get(index)?.preview(url),
    /** @param {boolean} large */
    fit: (large) => {
      if (large === isLarge) return;
      isLarge = large;
      for (const tile of tiles.values()) tile.fit(isLarge);
    },
    mark: () => {
      for (const tile of tiles.values()) tile.mark();
    },
  };
}

/**
 * The place of a picture that is drawn, in the shape that was asked for, with how it looks so far.
 * @param {number?} ratio
 */
function makePlace(ratio) {
  const canvas = h("canvas", { role: "img", "aria-label": "How it looks so far", hidden: true });
  const element = h("li", { class: "tile coming" }, canvas);
  if (ratio) setRatio(element, ratio);
  return {
    element,
    /** @param {string} url: a data URL. */
    async preview(url) {
      const [kind, data] = url.replace("data:", "").split(";base64,");
      const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
      const blob = new Blob([bytes], { type: kind });
      const bitmap = await createImageBitmap(blob).catch(() => null);
      if (!bitmap) return; // the next one may be whole
      [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
      contextOf(canvas).drawImage(bitmap, 0, 0);
      bitmap.close();
      if (!ratio) setRatio(element, canvas.width / canvas.height);
      canvas.hidden = false;
      element.classList.add("seen");
    },
  };
}

/**
 * Does something that may hide what has the focus, which then goes to what can be done next.
 * @param {HTMLElement} element
 * @param {() => void} work
 */
function keepFocus(element, work) {
  const focused = /** @type {HTMLElement?} */ (document.activeElement);
  const isInside = focused !== element && element.contains(focused);
  work();
  if (!isInside || (focused?.isConnected && focused.checkVisibility())) return;
  const next = [...element.querySelectorAll("button")].find((one) => one.checkVisibility());
  (next ?? element).focus({ preventScroll: true });
}
