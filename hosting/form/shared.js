// The page of a prediction that someone has shared.

import { askJson, here } from "./api.js";
import { makeCard } from "./card.js";
import { byId, h, pause } from "./dom.js";
import { isOver } from "./predictions.js";
import { handOn } from "./settings.js";
import { view } from "./viewer.js";

/** @typedef {import("./predictions.js").Drawn} Drawn */
/** @typedef {import("./predictions.js").Prediction} Prediction */

/** Milliseconds between two looks at one that is not over. */
const LOOK = 1000;

/** A prediction that someone has shared: it alone, and a way to go on from it. */
export async function showShared() {
  byId("form").hidden = true;
  document.querySelector(".model")?.setAttribute("hidden", "");
  byId("results-title").textContent = "A shared prediction";
  const path = () => location.pathname + location.search;
  try {
    const prediction = await askJson(path());
    /**
     * @param {Prediction} _now
     * @param {Drawn?} picture
     */
    const reuse = async (_now, picture = null) => {
      const { input, settings, task } = await askJson(path());
      handOn({ input, settings, task, picture });
    };
    const input = prediction.settings.image ? here(prediction.settings.image) : null;
    const card = makeCard(prediction, {
      reuse,
      view: (now, index) => view(now, index, { reuse }, input),
    });
    byId("predictions").append(card.element);
    card.fit(true);
    for (let now = prediction; !isOver(now); card.update(now)) {
      await pause(LOOK);
      now = await askJson(path());
    }
  } catch (error) {
    const own = h("p", {}, h("a", { href: "/" }, "Make a picture of your own"));
    byId("predictions").replaceWith(h("p", { class: "fault", role: "alert" }, error.message), own);
  }
}
