// The pictures of predictions as one file.

import { ask } from "./api.js";
import { save } from "./dom.js";

/** Characters of a prompt in the file's name. */
const LONGEST = 60;

/**
 * Saves all pictures of some predictions.
 * @param {...import("./predictions.js").Prediction} predictions
 */
export async function saveAll(...predictions) {
  const ids = predictions.map(({ id }) => encodeURIComponent(id)).join(",");
  const answer = await ask(`/form/zip?ids=${ids}`);
  const [only, ...others] = predictions;
  const words = others.length ? "" : String(only.input.prompt ?? "");
  const name = words
    .toLowerCase()
    .replace(/[^\p{L}\p{M}\p{N}]+/gu, "-")
    .slice(0, LONGEST)
    .replace(/^-|-$/g, "");
  save(await answer.blob(), `${name || "pictures"}.zip`);
}
