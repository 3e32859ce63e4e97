// The beginning of the page: it asks for the models while the rest of itself is on its way.

import { askJson } from "./page/api.js";
import { say } from "./page/dom.js";

async function begin() {
  if (/^\/[ps]\//.test(location.pathname)) return (await import("./share/shared.js")).showShared();
  const models = askJson("/form/models");
  models.catch(() => {}); // said by who waits for it
  await (await import("./start.js")).start(models);
}

begin().catch((error) => say(error.message));
