// The page: its tabs, its buttons, its start.

import { token } from "./api.js";
import { codePanel } from "./code.js";
import { acting, announce, byId, say } from "./dom.js";
import { listenForPictures } from "./drops.js";
import { exampleList } from "./examples.js";
import * as form from "./form.js";
import * as history from "./history.js";
import { forgetAll } from "./kept.js";
import { chooseModel, loadModels } from "./models.js";
import { actions, run } from "./runs.js";
import { restore, takeHandedOn } from "./settings.js";

function showCode() {
  const model = form.modelOf();
  if (byId("code").hidden || !model) return;
  const { plain, files } = form.look();
  const names = Object.entries(files).map(([name, picture]) => [name, picture.name]);
  byId("code").replaceChildren(
    ...codePanel({
      model: model.id,
      inputs: { prompt: "", ...plain },
      files: Object.fromEntries(names),
      hasToken: Boolean(token()),
    }),
  );
}

function listen() {
  byId("form").addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  byId("form").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) run();
  });
  byId("reset").addEventListener("click", () => {
    form.fill({});
    say("");
    announce("The form is as it was at first");
  });
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
  for (const [name, other] of [
    ["inputs", "code"],
    ["code", "inputs"],
  ]) {
    byId(`tab-${name}`).addEventListener("click", () => form.chooseTab(name));
    byId(`tab-${name}`).addEventListener("keydown", ({ key }) => {
      if (!["ArrowLeft", "ArrowRight"].includes(key)) return;
      form.chooseTab(other);
      byId(`tab-${other}`).focus();
    });
  }
  byId("forget-token").hidden = !token();
  byId("forget-token").addEventListener("click", async () => {
    await forgetAll();
    location.reload();
  });
  listenForPictures();
}

async function start() {
  if (/^\/[ps]\//.test(location.pathname)) return (await import("./shared.js")).showShared();
  listen();
  byId("welcome").querySelector("ul")?.replaceWith(exampleList("Try"));
  await form.begin({ changed: showCode, restore, examples: () => exampleList("Take") });
  await Promise.all([loadModels(), acting(() => history.showMore(actions))()]);
  await takeHandedOn();
}

start().catch((error) => say(error.message));
