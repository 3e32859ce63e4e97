// The page of a prediction that someone has shared: its pictures, what they were made with and from,
// and a way to go on from there.

import { download, isOver, thereOf } from "../gallery/predictions.js";
import { handOn } from "../inputs/settings.js";
import { askJson } from "../page/api.js";
import { announce, button, byId, h, pause } from "../page/dom.js";
import { useStyle } from "../page/style-sheet.js";
import { detailsOf, madeFrom, settingsList } from "../viewer/details.js";
import { endOf } from "./share.js";

/** @typedef {import("../gallery/predictions.js").Drawn} Drawn */
/** @typedef {import("../gallery/predictions.js").Prediction} Prediction */
/** @typedef {Prediction & import("../viewer/details.js").Details & {expires_at?: string?}} Shared */

/** Milliseconds until one that is not over is looked at again. */
const LOOK = 2000;
/**
 * What the inputs that are pictures are called.
 * @type {Record<string, string>}
 */
const NAMES = { image: "The input", mask: "The mask" };

/** Where the prediction itself is to be had. */
const path = () => location.pathname + location.search;

/** Shows what the page's address leads to. */
export async function showShared() {
  byId("form").hidden = true;
  document.querySelector(".model")?.setAttribute("hidden", "");
  byId("shortcuts").hidden = true; // they are of the form
  await useStyle("share/share");
  const results = byId("results");
  try {
    /** @type {Shared} */
    let shared = await askJson(path());
    const page = makePage();
    results.replaceChildren(page.element);
    page.update(shared);
    while (!isOver(shared)) {
      await pause(LOOK);
      shared = await askJson(path());
      page.update(shared);
    }
  } catch (error) {
    results.replaceChildren(
      h("h2", { id: "results-title" }, "Shared picture"),
      h("p", { class: "fault", role: "alert" }, error.message),
      h("p", {}, h("a", { href: "/" }, "Make a picture of your own")),
    );
  }
}

/** The page, and what brings it to how the prediction is now. */
function makePage() {
  const title = h("h2", { id: "results-title", dir: "auto" });
  const status = h("p", { class: "status" });
  const drawn = h("ul", { class: "drawn" });
  const aside = h("aside", { "aria-label": "About it" });
  let seen = "";

  /** @param {Shared} shared */
  function update(shared) {
    title.textContent = shared.input.prompt || "Shared picture";
    status.textContent = statusOf(shared);
    const pictures = thereOf(shared);
    const now = JSON.stringify([isOver(shared), pictures.map(({ url }) => url)]);
    if (now === seen) return; // what nobody changed keeps the focus
    seen = now;
    drawn.replaceChildren(...pictures.map((one) => tileOf(shared, one)));
    aside.replaceChildren(...aboutOf(shared));
    announce(status.textContent);
  }

  const element = h("div", { class: "shown" }, h("div", {}, title, status, drawn), aside);
  return { element, update };
}

/**
 * @param {Shared} shared
 * @param {import("../gallery/predictions.js").ThereDrawn} drawn
 */
function tileOf(shared, drawn) {
  const words = `Picture ${drawn.index + 1} of ${shared.input.prompt || "no prompt"}`;
  const look = button(
    "",
    async () => (await import("../viewer/viewer.js")).view(shared, drawn.index, { reuse }),
    { class: "picture", "aria-label": `${words}: look closer` },
  );
  look.append(h("img", { src: drawn.url, alt: words, decoding: "async" }));
  return h("li", {}, look);
}

/** @param {Shared} shared */
function aboutOf(shared) {
  const pictures = thereOf(shared);
  const from = madeFrom(shared).map(([name, url]) => {
    const image = h("img", { src: url, alt: "" });
    const figure = h("figure", {}, image, h("figcaption", {}, NAMES[name]));
    // It may be kept no longer, or be in a format that this browser does not show.
    image.addEventListener("error", () => figure.remove());
    return figure;
  });
  const isShare = location.pathname.startsWith("/s/");
  const all =
    isShare && pictures.length > 1
      ? h("a", { class: "button", href: `${location.pathname}/zip`, download: "" }, "Download all")
      : null;
  const seed = pictures.length === 1 ? pictures[0].seed : null;
  return [
    h(
      "div",
      { class: "ways" },
      button("Use its settings", () => reuse(shared), { class: "primary" }),
      pictures.length === 1 ? button("Download", () => download(pictures[0])) : null,
      all,
    ),
    from.length ? h("div", { class: "from" }, ...from) : "",
    settingsList(shared, seed),
    h("p", { class: "hint" }, endOf(expiryOf(shared))),
    h("p", {}, h("a", { href: "/" }, "Make a picture of your own")),
  ];
}

/**
 * When the page ends. The link that every prediction has says it in its address.
 * @param {Shared} shared
 */
function expiryOf({ expires_at: expires }) {
  const seconds = new URLSearchParams(location.search).get("expires");
  return expires ?? (seconds && new Date(1000 * Number(seconds)).toISOString());
}

/**
 * Takes its settings to the page that has the form.
 * @param {Prediction} prediction
 * @param {Drawn?} picture
 */
async function reuse(prediction, picture = null) {
  const { input, settings, task } = await detailsOf(prediction);
  handOn({ input, settings, task, picture });
}

/** @param {Prediction} prediction */
function statusOf({ status, metrics, queue, error }) {
  const progress = metrics?.progress;
  if (status === "succeeded") return "";
  if (status === "failed") return `Failed. ${error ?? ""}`;
  if (status === "starting") return queue ? `Waiting: number ${queue.position}` : "Waiting";
  if (status === "processing")
    return progress ? `Drawing: step ${progress.step} of ${progress.steps}` : "Drawing";
  return "Stopped";
}
