// Predictions as cards: how far each is, its pictures, and what can be done with them.

import { ask, askJson, here } from "./api.js";
import { announce, button, copy, h, pause, save } from "./dom.js";

const FINISHED = ["succeeded", "failed", "canceled"];
const AGO = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

/**
 * The pictures of a prediction, also those that were left out, in their order.
 * @returns {{index, seed, url, name}[]} `url` is null for one that was left out.
 */
export function picturesOf(prediction) {
  const urls = (prediction.output ?? []).map(here);
  const told = prediction.metrics?.images;
  if (!told) return urls.map((url, index) => ({ index, seed: null, url, name: nameOf(url) }));
  return [...told]
    .sort((one, other) => one.index - other.index)
    .map(({ index, seed, file }) => {
      const url = file && urls.find((one) => nameOf(one) === file);
      return { index, seed, url: url ?? null, name: `${prediction.id}-seed-${seed}.${file?.split(".").pop()}` };
    })
    .filter(({ url }, place) => url || !told[place].file); // the link comes a moment after the seed
}

const nameOf = (url) => url.split("?")[0].split("/").pop();

/**
 * A card.
 * @param {object} prediction: of the API.
 * @param {object} actions: `reuse(prediction, picture)`, `vary(prediction, picture)` and
 *   `view(prediction, index)`; `stop` where it may be stopped.
 * @returns {{element, update}}
 */
export function makeCard(prediction, actions) {
  const status = h("p", { class: "status" });
  const bar = h("progress", { "aria-label": "Progress" });
  const prompt = h("h3", { dir: "auto", class: "prompt" });
  const about = h("p", { class: "hint" });
  const grid = h("ul", { class: "grid" });
  const fault = h("p", { class: "fault" });
  const buttons = h("div", { class: "ways" });
  const element = h("li", { class: "card", "data-id": prediction.id }, prompt, about, status, bar, grid, fault, buttons);
  let drawn = null;

  function update(now) {
    prediction = now;
    const isOver = FINISHED.includes(now.status);
    element.dataset.status = now.status;
    prompt.textContent = now.input.prompt || "Without a prompt";
    about.textContent = aboutOf(now);
    status.textContent = statusOf(now);
    status.hidden = now.status === "succeeded";
    bar.hidden = isOver;
    if (now.status === "processing") bar.value = now.metrics?.progress ?? 0;
    else bar.removeAttribute("value");
    fault.textContent = (now.error ?? "").trim();
    const pictures = picturesOf(now);
    const looks = JSON.stringify([now.status, pictures.map(({ index, url }) => [index, Boolean(url)])]);
    if (looks === drawn) return;
    drawn = looks;
    const missing = now.status !== "processing" ? 0 : Math.max(0, (now.input.num_images ?? 1) - pictures.length);
    grid.replaceChildren(...pictures.map(tile), ...Array.from({ length: missing }, () => h("li", { class: "coming" })));
    buttons.replaceChildren(...buttonsOf(isOver, pictures));
  }

  function tile(picture) {
    const seed = h("span", { class: "hint seed" }, picture.seed === null ? "" : `seed ${picture.seed}`);
    if (!picture.url) return h("li", {}, h("div", { class: "left-out" }, "Left out: the NSFW checker flagged it"), seed);
    const words = `Picture ${picture.index + 1} of ${prediction.input.prompt || "no prompt"}`;
    const image = h("img", { src: picture.url, alt: words, loading: "lazy", decoding: "async" });
    const view = button("", () => actions.view(prediction, picture.index), { class: "picture", "aria-label": `${words}: look closer` });
    view.append(image);
    return h("li", {}, view, seed);
  }

  function buttonsOf(isOver, pictures) {
    const there = pictures.filter(({ url }) => url);
    const quiet = { class: "quiet" };
    return [
      !isOver && actions.stop ? button("Stop", () => actions.stop(prediction)) : null,
      button("Use these settings", () => actions.reuse(prediction), quiet),
      button("Copy settings", (event) => copy(settingsOf(prediction), event.target), quiet),
      button("Copy link", (event) => copy(location.origin + here(prediction.urls.web), event.target), quiet),
      there.length > 1
        ? button("Download all", () => there.forEach(download), quiet)
        : null,
    ].filter(Boolean);
  }

  update(prediction);
  return { element, update };
}

/**
 * Asks for a prediction again and again until it is over.
 * @param {(prediction: object) => void} changed
 */
export async function follow(prediction, changed) {
  while (!FINISHED.includes(prediction.status)) {
    // Who is far back in the queue need not look often.
    await pause(prediction.status === "processing" ? 300 : Math.min(300 + 400 * (prediction.queue?.position ?? 1), 5000));
    prediction = await askJson(here(prediction.urls.web));
    changed(prediction);
  }
  const count = prediction.output?.length ?? 0;
  announce(
    {
      succeeded: `Done: ${count} ${count === 1 ? "picture" : "pictures"}`,
      failed: `It failed. ${prediction.error}`,
      canceled: "Stopped",
    }[prediction.status],
  );
}

/** Stops a prediction of one's own. */
export const stop = ({ id }) => ask(`/v1/predictions/${id}/cancel`, null, "POST");

/** Saves a picture by a name that tells its seed, which the server's does not. */
export const download = async ({ url, name }) => save(await (await ask(url)).blob(), name);

/** The settings as text, as the API takes them; files left aside. */
export function settingsOf({ input }, seed) {
  const plain = Object.entries(input).filter(([, value]) => !/^https?:\/\/\S+\/files\/\S+&signature=/.test(value));
  return JSON.stringify({ ...Object.fromEntries(plain), ...(seed == null ? {} : { seed }) }, null, 2);
}

function statusOf({ status, queue, metrics, logs }) {
  if (status === "starting") {
    if (!queue) return "Waiting";
    const wait = queue.estimated_wait;
    const place = queue.position === 1 ? "next in the queue" : `number ${queue.position} in the queue`;
    return `Waiting: ${place}${wait ? `, about ${secondsOf(wait)}` : ""}`;
  }
  if (status === "processing") {
    const step = [...logs.matchAll(/^step (\d+) of (\d+), (\d+) s left$/gm)].pop();
    if (!metrics?.progress) return "Starting";
    if (!step) return `${Math.round(100 * metrics.progress)} %`;
    return `Step ${step[1]} of ${step[2]}, ${secondsOf(Number(step[3]))} left`;
  }
  return { failed: "It failed", canceled: "Stopped" }[status] ?? "Done";
}

const secondsOf = (seconds) => (seconds < 90 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`);

function aboutOf({ input, created_at: created, metrics }) {
  const size = input.width && input.height ? `${input.width} × ${input.height}` : null;
  const parts = [input.num_inference_steps && `${input.num_inference_steps} steps`, size, input.scheduler];
  if (metrics?.predict_time) parts.push(`took ${metrics.predict_time.toFixed(1)} s`);
  const minutes = Math.round((new Date(created) - Date.now()) / 60000);
  const [amount, unit] = minutes > -60 ? [minutes, "minute"] : minutes > -1440 ? [minutes / 60, "hour"] : [minutes / 1440, "day"];
  return [...parts, minutes > -1 ? "just now" : AGO.format(Math.round(amount), unit)].filter(Boolean).join(" · ");
}
