// A prediction as the API and the form's own paths give it, and the pictures in it.

import { ask, askJson, here } from "../page/api.js";
import { save } from "../page/dom.js";

const FINISHED = ["succeeded", "failed", "canceled", "aborted"];
/** Letters that a file's name takes from the prompt, at most. */
const LONGEST_NAME = 60;
/** Pixels of the longer side of a thumbnail, at most. */
const THUMBNAIL = 320;
/** How much larger than itself a thumbnail may be shown. */
const STRETCH = 1.25;

/** @typedef {import("../inputs/schema.js").Value} Value */

/**
 * A prediction, as far as the page reads it.
 * @typedef {object} Prediction
 * @property {string} id
 * @property {"starting" | "processing" | "succeeded" | "failed" | "canceled" | "aborted"} status
 * @property {Record<string, any>} input  by the names that its client uses.
 * @property {string[] | string | null} output  of some versions a single one
 * @property {(string | null)[]} [thumbnails]  of the outputs, where they are made.
 * @property {(Size | null)[]} [sizes]  of the outputs, in px.
 * @property {string} [task]
 * @property {string?} error
 * @property {string} [failure]  why it failed, in a word: inputs, nsfw, worker …
 * @property {string} logs
 * @property {string} created_at
 * @property {Metrics} [metrics]
 * @property {Place} [queue]
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
/** @typedef {[number, number]} Size  width and height. */
/** @typedef {{position: number, estimated_wait: number?, reason?: string}} Place */
/** @typedef {{step: number, steps: number, seconds_left: number}} Progress */
/** @typedef {{index: number, seed: number, file: string?}} DrawnImage */

/**
 * What a prediction has drawn.
 * @typedef {object} Drawn
 * @property {number} index
 * @property {number?} seed
 * @property {string?} url  null for one that was left out.
 * @property {string?} thumbnail  null where there is none (yet).
 * @property {Size?} size
 * @property {string} name
 */
/** @typedef {Drawn & {url: string}} ThereDrawn  one that was not left out. */

/**
 * What can be done with a prediction and what it has drawn. Where something is missing, it is not
 * offered.
 * @typedef {object} Actions
 * @property {(prediction: Prediction, drawn?: Drawn?) => unknown} reuse  its settings, and the
 *   picture's seed, into the form.
 * @property {(prediction: Prediction, index: number) => unknown} view
 * @property {(prediction: Prediction) => unknown} [stop]
 * @property {(prediction: Prediction) => unknown} [tryAgain]
 * @property {(prediction: Prediction) => unknown} [remove]
 * @property {(prediction: Prediction) => unknown} [share]
 * @property {(prediction: Prediction) => unknown} [saveAll]
 * @property {(drawn: ThereDrawn) => unknown} [useAsInput]
 * @property {(drawn: ThereDrawn) => unknown} [paintOn]
 * @property {(drawn: ThereDrawn) => unknown} [extend]
 * @property {(prediction: Prediction, drawn: ThereDrawn) => unknown} [enlarge]
 * @property {(prediction: Prediction, drawn: ThereDrawn, strength: number) => unknown} [vary]
 * @property {(drawn: ThereDrawn) => unknown} [copyPicture]
 */

/** Whether a prediction is over. @param {Prediction} prediction */
export const isOver = ({ status }) => FINISHED.includes(status);

/** Whether it is over without a picture to show for it. @param {Prediction} prediction */
export const isInVain = (prediction) => isOver(prediction) && prediction.status !== "succeeded";

/**
 * The pictures of a prediction, also those that were left out, in their order.
 * @param {Prediction} prediction
 * @returns {Drawn[]}
 */
export function picturesOf(prediction) {
  const urls = [prediction.output ?? []].flat().map((url) => here(url));
  /**
   * @param {number} place: in the output.
   * @param {{index: number, seed: number?}} known
   */
  const drawn = (place, { index, seed }) => {
    const url = urls[place] ?? null;
    const thumbnail = prediction.thumbnails?.[place];
    return {
      index,
      seed,
      url,
      thumbnail: thumbnail ? here(thumbnail) : null,
      size: prediction.sizes?.[place] ?? null,
      name: nameOfPicture(prediction, { index, seed, url }),
    };
  };
  const told = prediction.metrics?.images;
  if (!told) return urls.map((_, index) => drawn(index, { index, seed: null }));
  return [...told]
    .sort((one, other) => one.index - other.index)
    .map((image) => ({
      ...drawn(image.file ? urls.findIndex((url) => fileOf(url) === image.file) : -1, image),
      isMade: Boolean(image.file),
    }))
    .filter(({ url, isMade }) => url || !isMade); // the link comes a moment after the seed
}

/** Those that were not left out. @param {Prediction} prediction */
export const thereOf = (prediction) => picturesOf(prediction).filter(isThere);

/**
 * @param {Drawn} drawn
 * @returns {drawn is ThereDrawn}
 */
export const isThere = (drawn) => drawn.url !== null;

/** The name of the file that a URL leads to. @param {string} url */
const fileOf = (url) => url.replace(/\?.*/s, "").replace(/.*\//s, "");

/**
 * A prompt as a part of a file's name.
 * @param {unknown} prompt
 */
export const slugOf = (prompt) =>
  [
    ...String(prompt ?? "")
      .toLowerCase()
      .replace(/[^\p{L}\p{M}\p{N}]+/gu, "-")
      .replace(/^-+/, ""),
  ]
    .slice(0, LONGEST_NAME)
    .join("")
    .replace(/-+$/, "");

/**
 * The name of a picture's file, by which it is found again: a-red-fox-seed-4.png.
 * @param {Prediction} prediction
 * @param {{index: number, seed: number?, url: string?}} drawn
 */
function nameOfPicture({ input }, { index, seed, url }) {
  const which = seed === null ? index + 1 : `seed-${seed}`;
  const ending = url ? fileOf(url).split(".").pop() : "png";
  return `${slugOf(input.prompt) || "picture"}-${which}.${ending}`;
}

/**
 * What an image element takes of a picture: the thumbnail where that has pixels enough.
 * @param {ThereDrawn} drawn
 */
export function sourcesOf({ url, thumbnail, size }) {
  const [width, height] = size ?? [null, null];
  if (!thumbnail || !width || !height) return { src: url, width, height };
  const shrunk = width * Math.min(1, THUMBNAIL / Math.max(width, height));
  const small = Math.min(Math.round(shrunk * STRETCH), width);
  return { src: url, width, height, srcset: `${thumbnail} ${small}w, ${url} ${width}w` };
}

/** How many images a prediction was asked for. @param {Prediction} prediction */
export const countOf = ({ input }) => Number(input.num_images ?? input.num_outputs ?? input.n ?? 1);

/**
 * Width by height of what is asked for, as far as its inputs tell.
 * @param {Prediction} prediction
 * @returns {number?}
 */
export function ratioOf({ input, sizes }) {
  const [size] = sizes?.filter((one) => one !== null) ?? [];
  if (size) return size[0] / size[1];
  const text = [input.result_size, input.size, input.image_dimensions].find(
    (one) => typeof one === "string",
  );
  const [, width, height] = /^(\d+)x(\d+)$/.exec(text ?? "") ?? [null, input.width, input.height];
  return Number(width) / Number(height) || null;
}

/**
 * Stops a prediction of one's own; the prediction after that.
 * @param {Prediction} prediction
 * @returns {Promise<Prediction>}
 */
export const stop = ({ urls }) => askJson(here(urls.cancel), { method: "POST", isOnce: false });

/**
 * Saves a picture by its readable name.
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
  const isLink = (value) =>
    /^https?:\/\/\S+(\/files\/\S+&signature=|\/s\/\w+\/files\/)/.test(value);
  const plain = Object.entries(input).filter(([, value]) => !isLink(value));
  const alone = seed === null ? {} : { seed, ...("num_images" in input && { num_images: 1 }) };
  return JSON.stringify({ ...Object.fromEntries(plain), ...alone }, null, 2);
}
