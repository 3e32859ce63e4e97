// A picture as large as the window, beside what it was made with and what it was made from. The keys
// lead through all pictures, and any two can be compared.

import { isFavourite, toggleFavourite } from "../gallery/favourites.js";
import * as history from "../gallery/history.js";
import { download, settingsOf, thereOf } from "../gallery/predictions.js";
import { here } from "../page/api.js";
import { announce, button, copy, faultOf, h } from "../page/dom.js";
import { useStyle } from "../page/style-sheet.js";
import { trying } from "../page/toast.js";
import { detailsOf, settingsList } from "./details.js";
import { placeOf } from "./placing.js";
import { Stage } from "./stage.js";

/** @typedef {import("../gallery/predictions.js").Prediction} Prediction */
/** @typedef {import("../gallery/predictions.js").Drawn} Drawn */
/** @typedef {import("../gallery/predictions.js").ThereDrawn} ThereDrawn */
/** @typedef {import("./details.js").Details} Details */
/** @typedef {{prediction: Prediction, drawn: ThereDrawn}} Entry */

/**
 * What can be done with a picture that is shown; what is not there has no button.
 * @typedef {object} ViewerActions
 * @property {(prediction: Prediction, drawn: Drawn) => unknown} reuse
 * @property {(drawn: ThereDrawn) => unknown} [useAsInput]
 * @property {(drawn: ThereDrawn) => unknown} [paintOn]
 * @property {(prediction: Prediction, drawn: ThereDrawn, strength: number) => unknown} [vary]
 * @property {(prediction: Prediction, drawn: ThereDrawn) => unknown} [enlarge]
 * @property {(drawn: ThereDrawn) => unknown} [extend]
 * @property {(drawn: ThereDrawn) => unknown} [copyPicture]
 * @property {(prediction: Prediction) => unknown} [share]
 * @property {(prediction: Prediction) => unknown} [saveAll]
 * @property {(prediction: Prediction) => unknown} [remove]
 */

/**
 * How far from a picture its variations are.
 * @type {[string, number][]}
 */
const VARIATIONS = [
  ["A little", 0.3],
  ["More", 0.5],
  ["Much", 0.7],
];
/** Where the settings are below the picture, and hidden at first. */
const NARROW = "(width < 60rem)";

/**
 * Shows a picture until the person closes it.
 * @param {Prediction} prediction
 * @param {number} index: of the picture.
 * @param {ViewerActions} actions
 */
export async function view(prediction, index, actions) {
  const all = history.all();
  const predictions = all.some(({ id }) => id === prediction.id) ? all : [prediction];
  const entries = predictions.flatMap((one) =>
    thereOf(one).map((drawn) => ({ prediction: one, drawn })),
  );
  const place = entries.findIndex(
    ({ prediction: { id }, drawn }) => id === prediction.id && drawn.index === index,
  );
  await useStyle("viewer/viewer");
  if (document.querySelector("dialog.viewer")) return; // a double click asks twice
  new Viewer(entries, place, actions).open();
}

class Viewer {
  /**
   * @param {Entry[]} entries: all that the arrows lead through.
   * @param {number} place: of the one that is shown first.
   * @param {ViewerActions} actions
   */
  constructor(entries, place, actions) {
    this.entries = entries;
    this.place = place;
    this.actions = actions;
    /** What is compared with it: its own input, another picture, or nothing. */
    this.other = /** @type {"input" | Entry | null} */ ("input");
    this.details = /** @type {Map<string, Promise<Details?>>} */ (new Map());
    this.stage = new Stage({
      turn: (by) => this.turn(by),
      zoomed: (percent) => {
        this.percent.textContent = percent === null ? "– %" : `${percent} %`;
      },
    });
    this.percent = button("", () => this.toggleSize(), { title: "All of it, or its own size" });
    this.counter = h("p", { class: "counter" });
    this.asked = h("h2", { dir: "auto" });
    this.list = h("div");
    this.fault = h("p", { class: "fault", role: "alert" });
    this.done = h("p", { class: "hint" });
    this.strip = h("div", { class: "viewer-strip", role: "group", "aria-label": "Compare with" });
    this.strip.hidden = true;
    this.star = button("Favourite", () => this.toggleFavourite());
    this.copying = button(
      "Copy settings",
      this.trying(() => copy(settingsOf(this.now.prediction, this.now.drawn.seed), this.copying)),
    );
    this.saving = button(
      "Download all",
      this.trying(() => this.actions.saveAll?.(this.now.prediction)),
    );
    this.choices = /** @type {Map<"input" | Entry | null, HTMLButtonElement>} */ (new Map());
    this.dialog = this.makeDialog();
  }

  get now() {
    return this.entries[this.place];
  }

  open() {
    document.body.append(this.dialog);
    this.dialog.showModal();
    this.stage.element.focus();
    this.show();
  }

  /** @returns {HTMLDialogElement} */
  makeDialog() {
    const isNarrow = matchMedia(NARROW).matches;
    this.comparing = button("Compare", () => this.toggleStrip(), { "aria-expanded": "false" });
    const about = button("Settings", () => this.toggle(about), {
      "aria-expanded": String(!isNarrow),
    });
    const bar = h(
      "div",
      { class: "viewer-bar" },
      this.counter,
      this.entries.length > 1 || this.now.prediction.input.image ? this.comparing : null,
      about,
      button("✕", () => this.dialog.close(), { "aria-label": "Close" }),
    );
    const turns = this.entries.length > 1 ? [-1, 1] : [];
    const screen = h(
      "div",
      { class: "screen" },
      this.stage.element,
      ...turns.map((by) =>
        button(by < 0 ? "‹" : "›", () => this.turn(by), {
          class: by < 0 ? "turn previous" : "turn next",
          "aria-label": by < 0 ? "Previous picture" : "Next picture",
        }),
      ),
      h(
        "div",
        { class: "zoom" },
        button("−", () => this.stage.zoomBy(-1), { "aria-label": "Smaller" }),
        this.percent,
        button("+", () => this.stage.zoomBy(1), { "aria-label": "Larger" }),
      ),
      this.strip,
    );
    const side = h(
      "div",
      { class: "side" },
      this.makeActions(),
      this.fault,
      this.done,
      h("div", { class: "viewer-about" }, this.asked, this.list),
    );
    const dialog = h(
      "dialog",
      { class: isNarrow ? "viewer alone" : "viewer", "aria-label": "Picture" },
      bar,
      screen,
      side,
      h("p", { class: "unseen", role: "status" }),
    );
    dialog.addEventListener("keydown", (event) => this.key(event));
    dialog.addEventListener("close", () => dialog.remove());
    return dialog;
  }

  makeActions() {
    const { actions } = this;
    /** @param {string} text @param {((entry: Entry) => unknown) | false | undefined} work */
    const act = (text, work, properties = {}) =>
      work
        ? button(
            text,
            this.trying(() => work(this.now)),
            properties,
          )
        : null;
    /** @param {string} text @param {((entry: Entry) => unknown) | false | undefined} work */
    const leave = (text, work, properties = {}) =>
      work
        ? button(
            text,
            trying(() => this.leave(work)),
            properties,
          )
        : null;
    const { useAsInput, paintOn, vary, enlarge, extend, copyPicture } = actions;
    const { share, saveAll, remove } = actions;
    const variations = VARIATIONS.map(([text, strength]) =>
      leave(text, vary && (({ prediction, drawn }) => vary(prediction, drawn, strength)), {
        "aria-label": `More like this: ${text.toLowerCase()}`,
      }),
    );
    const buttons = [
      act("Download", ({ drawn }) => download(drawn), { class: "primary" }),
      leave("Use as input", useAsInput && (({ drawn }) => useAsInput(drawn))),
      leave("Paint on it", paintOn && (({ drawn }) => paintOn(drawn))),
      leave("Enlarge", enlarge && (({ prediction, drawn }) => enlarge(prediction, drawn))),
      leave("Extend", extend && (({ drawn }) => extend(drawn))),
      act("Copy", copyPicture && ((entry) => this.copy(entry))),
      remove ? this.star : null, // a picture of one's own
      leave("Share", share && (({ prediction }) => share(prediction))),
      leave("Use its settings and seed", ({ prediction, drawn }) =>
        actions.reuse(prediction, drawn),
      ),
      this.copying,
      saveAll ? this.saving : null,
      leave("Delete", remove && (({ prediction }) => remove(prediction))),
    ];
    const like = { class: "like", role: "group", "aria-label": "More like this" };
    const more = h("div", like, h("span", { class: "hint" }, "More like this"), ...variations);
    return h("div", { class: "acts" }, ...buttons, vary ? more : null);
  }

  /**
   * A listener whose failure is said here, where it can be seen.
   * @param {() => unknown} work
   */
  trying(work) {
    return async () => {
      this.fault.textContent = this.done.textContent = "";
      try {
        await work();
      } catch (error) {
        this.fault.textContent = faultOf(error);
      }
    };
  }

  /** Copies the picture, and says so where it is seen. @param {Entry} entry */
  async copy({ drawn }) {
    await this.actions.copyPicture?.(drawn);
    this.done.textContent = "The picture is copied.";
    announce(this.done.textContent);
  }

  toggleFavourite() {
    toggleFavourite(this.now.prediction, this.now.drawn.index);
    this.mark();
  }

  /** Shows what of the buttons depends on the picture. */
  mark() {
    const { prediction, drawn } = this.now;
    this.star.setAttribute("aria-pressed", String(isFavourite(prediction, drawn.index)));
    this.saving.hidden = thereOf(prediction).length < 2;
  }

  /** Closes, and then does something. @param {(entry: Entry) => unknown} work */
  leave(work) {
    const { now } = this;
    this.dialog.close();
    return work(now);
  }

  /** Goes to another picture. @param {number} by */
  turn(by) {
    if (this.entries.length < 2) return;
    this.place = (this.place + by + this.entries.length) % this.entries.length;
    this.show();
  }

  async show() {
    const entry = this.now;
    const { prediction, drawn } = entry;
    const { prompt } = prediction.input;
    const place = `${this.place + 1} of ${this.entries.length}`;
    this.counter.textContent = place;
    this.asked.textContent = prompt || "Without a prompt";
    this.list.ariaBusy = "true"; // the settings there are the last picture's
    this.fault.textContent = this.done.textContent = "";
    announce([`Picture ${place}`, seedOf(entry), prompt].filter(Boolean).join(", "));
    this.drawStrip();
    this.mark();
    const words = `Picture ${drawn.index + 1} of ${prompt || "no prompt"}`;
    const size = await this.stage.show(drawn.url, words);
    const isOvertaken = () => entry !== this.now || !this.dialog.open;
    if (isOvertaken()) return;
    if (!size) this.fault.textContent = "The picture can't be loaded.";
    const details = await this.detailsOf(prediction);
    if (isOvertaken()) return;
    this.list.replaceChildren(
      details ? settingsList(details, drawn.seed, size) : h("p", { class: "hint" }, "Not known."),
    );
    this.list.ariaBusy = "false";
    this.drawStrip(details);
    if (size) await this.compare(details);
    for (const by of [1, -1]) {
      const next = this.entries.at((this.place + by) % this.entries.length);
      if (next) new Image().src = next.drawn.url;
    }
  }

  /**
   * What a prediction was made with; null where that is not to be had.
   * @param {Prediction} prediction
   */
  detailsOf(prediction) {
    const known = this.details.get(prediction.id) ?? detailsOf(prediction).catch(() => null);
    this.details.set(prediction.id, known);
    return known;
  }

  /** Lays over the picture what is compared with it. @param {Details?} details: of the picture. */
  async compare(details) {
    const { other, now, stage } = this;
    if (other === "input") {
      const image = details?.settings.image;
      await stage.compare(
        image
          ? {
              url: here(image),
              words: "The input",
              slider: "How much of the input is shown",
              badges: ["Before", "After"],
              place: (size) => placeOf(details.settings, size, stage.size),
            }
          : null,
      );
    } else if (other && other !== now) {
      const [left, right] = [nameOf(other), nameOf(now)];
      await stage.compare({
        url: other.drawn.url,
        words: `The other picture: ${left}`,
        slider: "How much of the other picture is shown",
        badges: left === right ? ["Other", "This"] : [left, right],
        place: () => null,
      });
    } else await stage.compare(null);
  }

  /** Shows or hides what it can be compared with. */
  toggleStrip() {
    if (!this.choices.size) this.fillStrip();
    this.strip.hidden = !this.strip.hidden;
    this.comparing?.setAttribute("aria-expanded", String(!this.strip.hidden));
  }

  fillStrip() {
    /** @param {"input" | Entry | null} other @param {HTMLButtonElement} choice */
    const add = (other, choice) => {
      choice.addEventListener("click", async () => {
        this.other = other;
        this.drawStrip();
        await this.compare(await this.detailsOf(this.now.prediction));
      });
      this.choices.set(other, choice);
      this.strip.append(choice);
    };
    const nothing = () => {};
    add(null, button("Nothing", nothing));
    add("input", button("Its input", nothing));
    for (const entry of this.entries) {
      const { drawn, prediction } = entry;
      const choice = button("", nothing, {
        "aria-label": `Picture ${drawn.index + 1} of ${prediction.input.prompt || "no prompt"}`,
      });
      choice.append(
        h("img", {
          src: drawn.thumbnail ?? drawn.url,
          alt: "",
          loading: "lazy",
          decoding: "async",
        }),
      );
      add(entry, choice);
    }
    this.detailsOf(this.now.prediction).then((details) => this.drawStrip(details));
  }

  /**
   * Marks what is chosen, and leaves out the picture itself.
   * @param {Details?} details: of the picture, where they are known by now.
   */
  drawStrip(details = null) {
    for (const [other, choice] of this.choices) {
      choice.setAttribute("aria-pressed", String(other === this.other));
      if (other === this.now) hide(choice, this.stage.element);
      else choice.hidden = false;
    }
    const input = this.choices.get("input");
    if (input && details && !details.settings.image) hide(input, this.stage.element);
  }

  /** Shows or hides the settings. @param {HTMLElement} pressed */
  toggle(pressed) {
    const isAlone = this.dialog.classList.toggle("alone");
    pressed.setAttribute("aria-expanded", String(!isAlone));
  }

  toggleSize() {
    if (this.stage.isFitted) this.stage.zoomTo(1);
    else this.stage.fit();
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.target instanceof HTMLInputElement || event.altKey || event.ctrlKey || event.metaKey)
      return; // the slider's own keys, and the browser's
    const { stage } = this;
    const moves = event.shiftKey && !stage.isFitted;
    /** @type {Record<string, () => void>} */
    const keys = {
      ArrowLeft: () => (moves ? stage.step(-1, 0) : this.turn(-1)),
      ArrowRight: () => (moves ? stage.step(1, 0) : this.turn(1)),
      ArrowUp: () => stage.step(0, -1),
      ArrowDown: () => stage.step(0, 1),
      "+": () => stage.zoomBy(1),
      "=": () => stage.zoomBy(1),
      "-": () => stage.zoomBy(-1),
      0: () => stage.fit(),
      1: () => stage.zoomTo(1),
    };
    if (event.key.startsWith("Arrow") && !moves && stage.isFitted && /Up|Down/.test(event.key))
      return; // what is longer than the window is scrolled by them
    if (!Object.hasOwn(keys, event.key)) return;
    event.preventDefault();
    keys[event.key]();
  }
}

/**
 * Hides a control; the focus goes elsewhere if it is there.
 * @param {HTMLElement} control
 * @param {HTMLElement} elsewhere
 */
function hide(control, elsewhere) {
  if (document.activeElement === control) elsewhere.focus();
  control.hidden = true;
}

/** @param {Entry} entry */
const seedOf = ({ drawn: { seed } }) => (seed === null ? null : `seed ${seed}`);

/** What a picture is called beside another. @param {Entry} entry */
const nameOf = (entry) => seedOf(entry) ?? `picture ${entry.drawn.index + 1}`;
