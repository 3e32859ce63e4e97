// The page: its tabs, its buttons, its start.

import * as history from "./gallery/history.js";
import { keepAdvancedInSight } from "./inputs/advanced.js";
import { exampleList, offerExamples } from "./inputs/examples.js";
import * as form from "./inputs/form.js";
import { forgetAll, hasOwn } from "./inputs/kept.js";
import { chooseModel, loadModels } from "./inputs/models.js";
import { listenForReset } from "./inputs/reset.js";
import { restore, takeHandedOn } from "./inputs/settings.js";
import { token } from "./page/api.js";
import { acting, byId, say } from "./page/dom.js";
import { listenForKeys } from "./page/keys.js";
import * as stream from "./page/stream.js";
import { listenToTabs } from "./page/tabs.js";
import { listenForPictures } from "./picture/drops.js";
import { actions, run, showStrips, tryGrid, tryStrengths } from "./runs/runs.js";

const SIGN_OUT = "Sign out? Earlier prompts, styles and favourites of this browser are removed.";

/** Shows the code where that is wanted. Few people do: the others don't wait for it. */
async function showCode() {
  if (byId("code").hidden) return;
  const code = await import("./inputs/code.js");
  code.showCode();
}

/** Something in the form is another. */
function changed() {
  offerExamples();
  acting(showCode)();
}

function listen() {
  byId("form").addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  listenForKeys(run);
  listenForReset();
  listenToTabs(acting(showCode));
  keepAdvancedInSight();
  byId("grid").addEventListener("click", acting(tryGrid));
  byId("model").addEventListener(
    "change",
    acting(() => chooseModel(byId("model").value)),
  );
  byId("more").addEventListener(
    "click",
    acting(() => history.showMore()),
  );
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) acting(loadModels)();
  });
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
  listenForPictures();
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

async function start() {
  if (/^\/[ps]\//.test(location.pathname)) return (await import("./share/shared.js")).showShared();
  listen();
  byId("welcome").querySelector("ul")?.replaceWith(exampleList("Try", run));
  await form.begin({ changed, restore, tryStrengths, examples: () => exampleList("Take") });
  history.begin(actions, showShelf);
  stream.begin({
    prediction: history.take,
    place: history.place,
    deleted: history.drop,
    preview: history.preview,
    models: acting(loadModels),
    reconnected: acting(() => history.refresh()),
  });
  await Promise.all([loadModels(), showHistory()]);
  await takeHandedOn();
}

start().catch((error) => say(error.message));
