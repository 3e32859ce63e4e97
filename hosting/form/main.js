// The page: its tabs, its buttons, its start.

import { keepAdvancedInSight } from "./advanced.js";
import { token } from "./api.js";
import { acting, byId, say } from "./dom.js";
import { listenForPictures } from "./drops.js";
import { exampleList, offerExamples } from "./examples.js";
import * as form from "./form.js";
import * as history from "./history.js";
import { forgetAll } from "./kept.js";
import { listenForKeys } from "./keys.js";
import { chooseModel, loadModels } from "./models.js";
import { listenForReset } from "./reset.js";
import { actions, run, showStrips, tryGrid, tryStrengths } from "./runs.js";
import { restore, takeHandedOn } from "./settings.js";
import * as stream from "./stream.js";
import { listenToTabs } from "./tabs.js";

/** Shows the code where that is wanted. Few people do: the others don't wait for it. */
async function showCode() {
  if (byId("code").hidden) return;
  const code = await import("./code.js");
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
    await forgetAll();
    location.reload();
  });
  listenForPictures();
}

/**
 * Shows what can be chosen of the pictures, once there are any.
 * @param {import("./history.js").Counts} counts
 */
async function showShelf(counts) {
  if (counts.all || !byId("shelf").hidden) (await import("./shelf.js")).showCounts(counts);
}

async function start() {
  if (/^\/[ps]\//.test(location.pathname)) return (await import("./shared.js")).showShared();
  listen();
  byId("welcome").querySelector("ul")?.replaceWith(exampleList("Try", run));
  await form.begin({ changed, restore, tryStrengths, examples: () => exampleList("Take") });
  stream.begin({
    prediction: history.take,
    deleted: history.drop,
    preview: history.preview,
    models: acting(loadModels),
    reconnected: acting(() => history.refresh()),
  });
  await showStrips();
  await Promise.all([loadModels(), acting(() => history.begin(actions, showShelf))()]);
  await takeHandedOn();
}

start().catch((error) => say(error.message));
