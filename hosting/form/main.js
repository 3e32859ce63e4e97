// The page: its form first, which is all that somebody needs to begin, then the rest of it.

import { isShared } from "./ahead.js";
import { keepAdvancedInSight } from "./inputs/advanced.js";
import { exampleList, offerExamples } from "./inputs/examples.js";
import * as form from "./inputs/form.js";
import { chooseModel, loadModels } from "./inputs/models.js";
import { listenForReset } from "./inputs/reset.js";
import { acting, byId } from "./page/dom.js";
import { listenForKeys } from "./page/keys.js";
import { listenToTabs } from "./page/tabs.js";
import { listenForPictures } from "./picture/drops.js";

/** @typedef {typeof import("./workshop.js")} Workshop */

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

/** @param {Promise<Workshop>} workshop */
function listen(workshop) {
  const run = acting(async () => (await workshop).run());
  byId("form").addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  byId("model").addEventListener(
    "change",
    acting(() => chooseModel(byId("model").value)),
  );
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) acting(loadModels)();
  });
  byId("grid").addEventListener(
    "click",
    acting(async () => (await workshop).tryGrid()),
  );
  listenForKeys(run);
  listenForReset();
  listenForPictures(async (files) => (await workshop).runEach(files));
  listenToTabs(acting(showCode));
  keepAdvancedInSight();
  byId("welcome").querySelector("ul")?.replaceWith(exampleList("Try", run));
}

async function start() {
  if (isShared) return (await import("./share/shared.js")).showShared();
  const workshop = import("./workshop.js");
  workshop.catch(() => {}); // said by who waits for it
  listen(workshop);
  await form.begin({
    changed,
    restore: async (picture) => (await workshop).restore(picture),
    tryStrengths: async () => (await workshop).tryStrengths(),
    examples: () => exampleList("Take"),
  });
  await Promise.all([loadModels(), workshop.then(({ begin }) => begin())]);
  await (await workshop).takeHandedOn();
}

acting(start)();
