// The pictures of a prediction as one file.

import { ask } from "../page/api.js";
import { save } from "../page/dom.js";
import { slugOf } from "./predictions.js";

/**
 * Saves all pictures of a prediction.
 * @param {import("./predictions.js").Prediction} prediction
 */
export async function saveAll({ id, input }) {
  const answer = await ask(`/form/zip?ids=${encodeURIComponent(id)}`);
  save(await answer.blob(), `${slugOf(input.prompt) || "pictures"}.zip`);
}
