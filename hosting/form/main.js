// The page: its tabs, its buttons, its start.

import { keepAdvancedInSight } from "./advanced.js";
import { token } from "./api.js";
import { acting, byId, say } from "./dom.js";
import { listenForPictures } from "./drops.js";
import { exampleList } from "./examples.js";
import * as form from "./form.js";
import * as history from "./history.js";
import { forgetAll } from "./kept.js";
import { listenForKeys } from "./keys.js";
import { chooseModel, loadModels } from "./models.js";
import { listenForReset } from "./reset.js";
import { actions, run } from "./runs.js";
import { restore, takeHandedOn } from "./settings.js";
import { showShared } from "./shared.js";
import { listenToTabs } from "./tabs.js";

/** Shows the code where that is wanted. Few people do: the others don't wait for it. */
async function showCode() {
  if (byId("code").hidden) return;
  const code = await import("./code.js");
  code.showCode();
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
  byId("model").addEventListener(
    "change",
    acting(() => chooseModel(byId("model").value)),
  );
  byId("more").addEventListener(
    "click",
    acting(() => history.showMore(actions)),
  );
  document.addEventListener("visibilitychange", () => {
    history.refresh();
    if (!document.hidden) acting(loadModels)();
  });
  byId("forget-token").hidden = !token();
  byId("forget-token").addEventListener("click", async () => {
    await forgetAll();
    location.reload();
  });
  listenForPictures();
}

async function start() {
  if (location.pathname.startsWith("/p/")) return showShared();
  listen();
  byId("welcome").querySelector("ul")?.replaceWith(exampleList("Try"));
  await form.begin({ changed: acting(showCode), restore, examples: () => exampleList("Take") });
  await Promise.all([loadModels(), acting(() => history.showMore(actions))()]);
  await takeHandedOn();
}

start().catch((error) => say(error.message));
