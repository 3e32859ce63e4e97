// The form run on several pictures, one prediction each.

import * as form from "../inputs/form.js";
import { openDialog } from "../page/dialogs.js";
import { button, h } from "../page/dom.js";
import { dataUrl, readPicture } from "../picture/picture.js";
import { inputFrom } from "./runs.js";
import { begin } from "./strip.js";

/**
 * Asks whether the form is to be run on pictures, and runs it.
 * @param {Blob[]} files
 */
export async function runEach(files) {
  const named = files.map((blob, place) => ({
    blob,
    name: (blob instanceof File && blob.name) || `picture ${place + 1}`,
  }));
  const names = named.map(({ name }) => name);
  if (!(await isWanted(names))) return;
  const field = form.pictureField("image");
  const model = form.modelOf();
  // The first stands for all in the form, which shows with it what goes along with a picture.
  if (!field || !model || !(await field.take(named[0].blob, named[0].name))) return;
  const collected = await form.collect();
  if (!collected) return;
  const { image, crop, ...shared } = await inputFrom(collected); // the crop was of one picture
  /** @param {typeof named[number]} one */
  const input =
    ({ blob, name }) =>
    async () => {
      const picture = await readPicture(blob, name);
      URL.revokeObjectURL(picture.url);
      return { ...shared, image: await dataUrl(picture) };
    };
  const title = `${files.length} pictures: ${shared.prompt || "no prompt"}`;
  await begin({ title, about: "", columns: names, rows: [] }, named.map(input), model);
}

/**
 * @param {string[]} names: of the pictures.
 * @returns {Promise<boolean>}
 */
function isWanted(names) {
  return new Promise((decide) => {
    /** @param {boolean} isWanted */
    const answer = (isWanted) => () => {
      decide(isWanted);
      dialog.close();
    };
    const dialog = openDialog(
      "asking",
      `Run the form on ${names.length} pictures?`,
      h("p", {}, "Each becomes a prediction of its own, by the settings that the form holds now."),
      h("ul", { class: "names" }, ...names.map((name) => h("li", { dir: "auto" }, name))),
      h(
        "div",
        { class: "buttons" },
        button("Cancel", answer(false)),
        button("Run", answer(true), { class: "primary" }),
      ),
    );
    dialog.addEventListener("close", () => decide(false));
  });
}
