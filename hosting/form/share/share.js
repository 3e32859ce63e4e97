// Links for others to a prediction: made, copied, revoked.

import { ask, askJson, here } from "../page/api.js";
import { announce, button, copy, h } from "../page/dom.js";
import { useStyle } from "../page/style-sheet.js";

/** @typedef {import("../gallery/predictions.js").Prediction} Prediction */
/** @typedef {{id: string, url: string, created_at: string, expires_at: string?}} Share */

const HOUR = 3600;
/**
 * When a link may end, in seconds; null is with the prediction.
 * @type {[string, number | null][]}
 */
const TIMES = [
  ["in 1 hour", HOUR],
  ["in 1 day", 24 * HOUR],
  ["in 1 week", 7 * 24 * HOUR],
  ["when the pictures are deleted", null],
];
/** The place in TIMES of what is chosen at first. */
const USUAL = 2;

/**
 * Opens what makes and revokes the links to a prediction.
 * @param {Prediction} prediction
 */
export async function share(prediction) {
  await useStyle("share/share");
  if (document.querySelector("dialog.share")) return; // a double click asks twice
  const path = `/v1/predictions/${encodeURIComponent(prediction.id)}/shares`;
  const time = h("select", { id: "share-time" });
  time.append(...TIMES.map(([text], place) => h("option", { value: place }, text)));
  time.value = String(USUAL);
  const fault = h("p", { class: "fault", role: "alert" });
  const links = h("ul", { class: "links", "aria-label": "Links" });
  /** @param {() => unknown} work */
  const trying = (work) => async () => {
    fault.textContent = "";
    try {
      await work();
    } catch (error) {
      fault.textContent = error.message;
    }
  };
  const make = async () => {
    await listing; // or the new one might be listed twice
    const body = { expires_in: TIMES[Number(time.value)][1] };
    const made = linkOf(await askJson(path, { body }), trying, making);
    links.prepend(made);
    made.querySelector("button")?.focus();
    announce("The link is made");
  };
  const making = button("Make a link", trying(make), { class: "primary" });
  /** @type {HTMLDialogElement} */
  const dialog = h(
    "dialog",
    { class: "share", "aria-labelledby": "share-title" },
    h("h2", { id: "share-title" }, "Share"),
    h(
      "p",
      { class: "hint" },
      "Whoever has a link sees the pictures, their prompt and settings, and the image that they were made from, without signing in.",
    ),
    h("div", { class: "new" }, h("label", { for: "share-time" }, "The link ends"), time, making),
    fault,
    links,
    h("p", { class: "unseen", role: "status" }),
    h(
      "div",
      { class: "buttons" },
      button("Close", () => dialog.close()),
    ),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  const listing = trying(async () => {
    /** @type {{results: Share[]}} */
    const { results } = await askJson(path);
    links.append(...results.map((one) => linkOf(one, trying, making)));
  })();
  await listing;
}

/**
 * A link, with what can be done with it.
 * @param {Share} share
 * @param {(work: () => unknown) => () => Promise<void>} trying: says what fails.
 * @param {HTMLElement} next: has the focus when the link is gone.
 */
function linkOf({ id, url, expires_at: expires }, trying, next) {
  const address = addressOf(url);
  const shown = h("input", { readonly: true, value: address, "aria-label": "Link" });
  shown.addEventListener("focus", () => shown.select());
  const copying = button(
    "Copy",
    trying(() => copy(address, copying)),
  );
  const revoking = button(
    "Revoke",
    trying(async () => {
      await ask(`/v1/shares/${id}`, { method: "DELETE" });
      element.remove();
      next.focus();
      announce("The link is revoked");
    }),
  );
  const sending = button(
    "Send",
    trying(async () => {
      await navigator.share({ url: address }).catch(() => {}); // who sends it may think better of it
    }),
  );
  const element = h(
    "li",
    {},
    shown,
    copying,
    "share" in navigator ? sending : null,
    revoking,
    h("p", { class: "hint" }, endOf(expires)),
  );
  return element;
}

/**
 * A URL for others: by the name by which this page is reached, unless the server has a public one.
 * @param {string} url
 */
function addressOf(url) {
  const isOurs = new URL(url).host === location.host;
  return isOurs ? location.origin + here(url) : url;
}

/**
 * When a link ends, as a sentence.
 * @param {string?} expires
 */
export function endOf(expires) {
  if (!expires) return "The link ends when the pictures are deleted.";
  const end = new Date(expires);
  const when = end.toLocaleString("en", { dateStyle: "medium", timeStyle: "short" });
  return `The link ends on ${when}.`;
}
