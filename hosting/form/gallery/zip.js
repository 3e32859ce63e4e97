// The pictures of predictions as one file.

import { ask } from "../page/api.js";
import { save } from "../page/dom.js";
import { slugOf } from "./predictions.js";

/**
 * Saves all pictures of some predictions.
 * @param {...import("./predictions.js").Prediction} predictions
 */
export async function saveAll(...predictions) {
  const ids = predictions.map(({ id }) => encodeURIComponent(id)).join(",");
  const answer = await ask(`/form/zip?ids=${ids}`);
  const [only, ...others] = predictions;
  const name = others.length ? "" : slugOf(only.input.prompt);
  save(await answer.blob(), `${name || "pictures"}.zip`);
}
