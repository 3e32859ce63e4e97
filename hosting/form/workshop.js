// What is beside the form: what it asks for, the pictures, and the page's own buttons and keys.

import * as history from "./gallery/history.js";
import { forgetAll, hasOwn } from "./inputs/kept.js";
import { loadModels } from "./inputs/models.js";
import { token } from "./page/api.js";
import { acting, byId } from "./page/dom.js";
import * as stream from "./page/stream.js";
import { actions, showStrips } from "./runs/runs.js";

export { restore, takeHandedOn } from "./inputs/settings.js";
export { run, runEach, tryGrid, tryStrengths } from "./runs/runs.js";

const SIGN_OUT = "Sign out? Earlier prompts, styles and favourites of this browser are removed.";

function listen() {
  byId("more").addEventListener(
    "click",
    acting(() => history.showMore()),
  );
  addEventListener("storage", ({ key, oldValue, newValue }) => {
    // Another tab has signed in or out: what is here is not theirs whose token it is now.
    if (key === null || (key === "token" && oldValue !== newValue)) location.reload();
  });
  byId("forget-token").hidden = !token();
  byId("forget-token").addEventListener("click", async () => {
    if (hasOwn() && !confirm(SIGN_OUT)) return;
    await forgetAll();
    location.reload();
  });
}

/**
 * Shows what can be chosen of the pictures, once there are any.
 * @param {import("./gallery/history.js").Counts} counts
 */
const showShelf = (counts) =>
  acting(async () => {
    if (counts.all || !byId("shelf").hidden)
      (await import("./gallery/shelf.js")).showCounts(counts);
  })();

/** The strips first: what is in them gets no cards. */
async function showHistory() {
  await acting(showStrips)();
  await acting(history.showFirst)();
}

/** Begins with the pictures that there are. */
export async function begin() {
  listen();
  history.begin(actions, showShelf);
  stream.begin({
    prediction: history.take,
    place: history.place,
    deleted: history.drop,
    preview: history.preview,
    models: acting(loadModels),
    reconnected: acting(() => Promise.all([history.refresh(), loadModels()])),
  });
  await showHistory();
}
