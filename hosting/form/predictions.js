// A prediction as a card: how far it is, its pictures, and what can be done with them.

import { ask, askJson, here } from "./api.js";
import { announce, button, copy, h, pause, save } from "./dom.js";

const FINISHED = ["succeeded", "failed", "canceled", "aborted"];
const AGO = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

/** @typedef {import("./schema.js").Value} Value */

/**
 * A prediction of the API, as far as the page reads it.
 * @typedef {object} Prediction
 * @property {string} id
 * @property {"starting" | "processing" | "succeeded" | "failed" | "canceled" | "aborted"} status
 * @property {Record<string, any>} input  by the names that its client uses.
 * @property {string[] | string | null} output  of some versions a single one
 * @property {string?} error
 * @property {string} [failure]  why it failed, in a word: inputs, nsfw, worker …
 * @property {string} logs
 * @property {string} created_at
 * @property {Metrics} [metrics]
 * @property {{position: number, estimated_wait: number}?} [queue]
 * @property {{get: string, cancel: string, web: string}} urls
 */
/**
 * What is known of a prediction beside its output.
 * @typedef {object} Metrics
 * @property {Progress} [progress]
 * @property {number} [predict_time]
 * @property {DrawnImage[]} [images]
 * @property {string[]} [notes]  sentences on how it was read, and on what can't be as asked for.
 */
/** @typedef {{step: number, steps: number, seconds_left: number}} Progress */
/** @typedef {{index: number, seed: number, file: string?}} DrawnImage */

/**
 * What a prediction has drawn.
 * @typedef {object} Drawn
 * @property {number} index
 * @property {number?} seed
 * @property {string?} url  null for one that was left out.
 * @property {string} name
 */
/** @typedef {Drawn & {url: string}} ThereDrawn  one that was not left out. */

/** Whether a prediction is over. @param {Prediction} prediction */
export const isOver = ({ status }) => FINISHED.includes(status);

/**
 * The pictures of a prediction, also those that were left out, in their order.
 * @param {Prediction} prediction
 * @returns {Drawn[]}
 */
export function picturesOf(prediction) {
  const urls = [prediction.output ?? []].flat().map((url) => here(url));
  const told = prediction.metrics?.images;
  if (!told) return urls.map((url, index) => ({ index, seed: null, url, name: nameOf(url) }));
  return [...told]
    .sort((one, other) => one.index - other.index)
    .map(({ index, seed, file }) => {
      const url = (file && urls.find((one) => nameOf(one) === file)) || null;
      const name = `${prediction.id}-seed-${seed}.${file?.split(".").pop()}`;
      return { index, seed, url, name, isMade: Boolean(file) };
    })
    .filter(({ url, isMade }) => url || !isMade); // the link comes a moment after the seed
}

/** Those that were not left out. @param {Prediction} prediction */
export const thereOf = (prediction) => picturesOf(prediction).filter(isThere);

/**
 * @param {Drawn} drawn
 * @returns {drawn is ThereDrawn}
 */
const isThere = (drawn) => drawn.url !== null;

/** @param {string} url */
const nameOf = (url) => url.replace(/\?.*/s, "").replace(/.*\//s, "");

/**
 * What can be done with a prediction.
 * @typedef {object} Actions
 * @property {(prediction: Prediction, drawn?: Drawn?) => unknown} reuse
 * @property {(prediction: Prediction, index: number) => unknown} view
 * @property {(prediction: Prediction) => unknown} [stop]  where it may be stopped.
 */

/**
 * A card.
 * @typedef {object} Card
 * @property {HTMLElement} element
 * @property {(prediction: Prediction) => void} update  shows a prediction as it is now. What has
 *   not changed stays, and keeps the focus.
 * @property {(text: string) => void} say  says what went wrong with what was done.
 */

/**
 * A card.
 * @param {Prediction} prediction
 * @param {Actions} actions
 * @returns {Card}
 */
export function makeCard(prediction, actions) {
  const status = h("p", { class: "status" });
  const bar = h("progress", { "aria-label": "Progress" });
  const prompt = h("h3", { dir: "auto", class: "prompt" });
  const about = h("p", { class: "hint" });
  const grid = h("ul", { class: "grid" });
  const notes = h("ul", { class: "notes" });
  const fault = h("p", { class: "fault" });
  /**
   * @param {import("./dom.js").Listener} act
   * @returns {import("./dom.js").Listener}
   */
  const acting = (act) => async (event) => {
    try {
      await act(event);
    } catch (error) {
      card.say(error.message);
    }
  };
  /**
   * @param {string} text
   * @param {import("./dom.js").Listener} work
   * @param {import("./dom.js").Properties} properties
   */
  const act = (text, work, properties = { class: "quiet" }) =>
    button(text, acting(work), properties);
  const stopping = act("Stop", () => actions.stop?.(prediction), {});
  const saving = act("Download all", async () => (await import("./zip.js")).saveAll(prediction));
  const buttons = h(
    "div",
    { class: "ways" },
    stopping,
    act("Use these settings", () => actions.reuse(prediction)),
    act("Copy settings", ({ target }) => copy(settingsOf(prediction), target)),
    act("Copy link", ({ target }) => copy(location.origin + here(prediction.urls.web), target)),
    saving,
  );
  const element = h(
    "li",
    { class: "card", "data-id": prediction.id },
    prompt,
    about,
    status,
    bar,
    grid,
    notes,
    fault,
    buttons,
  );
  const there = () => thereOf(prediction);
  const tiles = /** @type {Map<number, HTMLElement>} */ (new Map());

  /** @type {Card} */
  const card = {
    element,
    update(now) {
      prediction = now;
      element.dataset.status = now.status;
      prompt.textContent = now.input.prompt || "Without a prompt";
      about.textContent = aboutOf(now);
      status.textContent = statusOf(now);
      status.hidden = now.status === "succeeded";
      bar.hidden = isOver(now);
      const progress = now.metrics?.progress;
      if (now.status === "processing") bar.value = progress ? progress.step / progress.steps : 0;
      else bar.removeAttribute("value");
      notes.replaceChildren(...notesOf(now).map((note) => h("li", { class: "notice" }, note)));
      fault.textContent = (now.error ?? "").trim();
      drawPictures(picturesOf(now));
      stopping.hidden = isOver(now) || !actions.stop;
      saving.hidden = there().length < 2;
    },
    say(text) {
      fault.textContent = text;
      announce(text);
    },
  };

  /** @param {Drawn[]} pictures */
  function drawPictures(pictures) {
    for (const one of grid.querySelectorAll(".coming")) one.remove();
    if (!pictures.length) tiles.clear(); // it was begun again
    for (const picture of pictures)
      if (tiles.get(picture.index)?.dataset.url !== String(picture.url))
        tiles.set(picture.index, tile(picture));
    if ([...tiles.values()].some((one, place) => grid.children[place] !== one))
      grid.replaceChildren(...tiles.values());
    if (!tiles.size) grid.replaceChildren();
    const asked = prediction.input.num_images ?? prediction.input.num_outputs ?? 1;
    const missing = prediction.status === "processing" ? Math.max(0, asked - tiles.size) : 0;
    for (let count = 0; count < missing; count++) grid.append(h("li", { class: "coming" }));
  }

  /** @param {Drawn} picture */
  function tile(picture) {
    const known = { "data-url": picture.url };
    const seed = h(
      "span",
      { class: "hint seed" },
      picture.seed === null ? "" : `seed ${picture.seed}`,
    );
    if (!picture.url)
      return h(
        "li",
        known,
        h("div", { class: "left-out" }, "Left out: the NSFW checker flagged it"),
        seed,
      );
    const words = `Picture ${picture.index + 1} of ${prediction.input.prompt || "no prompt"}`;
    const view = act("", () => actions.view(prediction, picture.index), {
      class: "picture",
      "aria-label": `${words}: look closer`,
    });
    view.append(h("img", { src: picture.url, alt: words, loading: "lazy", decoding: "async" }));
    return h("li", known, view, seed);
  }

  card.update(prediction);
  return card;
}

/**
 * Asks for a prediction again and again until it is over.
 * @param {Prediction} prediction
 * @param {(prediction: Prediction) => string} path: where it is to be asked for.
 * @param {(prediction: Prediction) => void} changed
 * @returns {Promise<Prediction>} the prediction that is over.
 */
export async function follow(prediction, path, changed) {
  if (isOver(prediction)) return prediction;
  while (!isOver(prediction)) {
    // Who is far back in the queue need not look often.
    const waits = Math.min(300 + 400 * (prediction.queue?.position ?? 1), 5000);
    await pause(prediction.status === "processing" ? 300 : waits);
    prediction = await askJson(path(prediction));
    changed(prediction);
  }
  announce(endOf(prediction));
  return prediction;
}

/** @param {Prediction} prediction */
const notesOf = ({ metrics }) => metrics?.notes ?? [];

/** @param {Prediction} prediction */
function endOf(prediction) {
  const { status, output, error, input } = prediction;
  const count = [output ?? []].flat().length;
  if (status === "failed") return `It failed: ${error}`;
  if (status === "canceled" || status === "aborted") return `Stopped: ${input.prompt}`;
  const done = `Done: ${count} ${count === 1 ? "picture" : "pictures"} of ${input.prompt}`;
  return [done, ...notesOf(prediction)].join("\n");
}

/**
 * Stops a prediction of one's own; the prediction after that.
 * @param {Prediction} prediction
 * @returns {Promise<Prediction>}
 */
export const stop = ({ urls }) => askJson(here(urls.cancel), { method: "POST" });

/**
 * Saves a picture by a name that tells its seed, which the server's does not.
 * @param {ThereDrawn} drawn
 */
export const download = async ({ url, name }) => save(await (await ask(url)).blob(), name);

/**
 * The settings as text, as the API takes them, files left aside; of one picture, with its seed.
 * @param {Prediction} prediction
 * @param {number?} seed
 */
export function settingsOf({ input }, seed = null) {
  /** @param {any} value */
  const isLink = (value) => /^https?:\/\/\S+\/files\/\S+&signature=/.test(value);
  const plain = Object.entries(input).filter(([, value]) => !isLink(value));
  const alone = seed === null ? {} : { seed, ...("num_images" in input && { num_images: 1 }) };
  return JSON.stringify({ ...Object.fromEntries(plain), ...alone }, null, 2);
}

/** @param {Prediction} prediction */
function statusOf({ status, queue, metrics }) {
  if (status === "starting") {
    if (!queue) return "Waiting";
    const wait = queue.estimated_wait;
    const place =
      queue.position === 1 ? "next in the queue" : `number ${queue.position} in the queue`;
    return `Waiting: ${place}${wait >= 1 ? `, about ${secondsOf(wait)}` : ""}`;
  }
  if (status === "processing") {
    if (!metrics?.progress) return "Starting";
    const { step, steps, seconds_left: left } = metrics.progress;
    return `Step ${step} of ${steps}, ${secondsOf(left)} left`;
  }
  if (status === "failed") return "It failed";
  return status === "succeeded" ? "Done" : "Stopped";
}

/** @param {number} seconds */
const secondsOf = (seconds) =>
  seconds < 90 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;

/** @param {Prediction} prediction */
function aboutOf({ input, created_at: created, metrics }) {
  const size = input.width && input.height ? `${input.width} × ${input.height}` : null;
  const steps = input.num_inference_steps && `${input.num_inference_steps} steps`;
  const took = metrics?.predict_time && `took ${metrics.predict_time.toFixed(1)} s`;
  const minutes = Math.min(0, Math.round((new Date(created).getTime() - Date.now()) / 60000));
  /** @type {[number, Intl.RelativeTimeFormatUnit]} */
  const [amount, unit] =
    minutes > -60
      ? [minutes, "minute"]
      : minutes > -1440
        ? [minutes / 60, "hour"]
        : [minutes / 1440, "day"];
  const ago = minutes > -1 ? "just now" : AGO.format(Math.round(amount), unit);
  return [steps, size, input.scheduler, took, ago].filter(Boolean).join(" · ");
}
