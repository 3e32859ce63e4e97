// Pictures and prompts to try.

import { button, byId, h } from "../page/dom.js";
import * as form from "./form.js";
import { offerUndo } from "./reset.js";

/**
 * @typedef {object} Example
 * @property {string} file
 * @property {string} prompt
 * @property {string} [mask]  a file: what of the picture is repainted.
 */

/** @type {Example[]} */
const EXAMPLES = [
  { file: "cat.png", prompt: "a fox" },
  { file: "orange.jpg", prompt: "a pumpkin" },
  { file: "face.png", prompt: "a panda" },
  { file: "car.png", prompt: "a blue car" },
  { file: "house.png", prompt: "a castle" },
  { file: "flower.png", prompt: "a red rose", mask: "flower-mask.png" },
];
const FOLDER = "/form/examples";

/**
 * Examples as buttons; the form has what each is for.
 * @param {string} verb
 * @param {() => unknown} then: what else is done when one was chosen.
 */
export function exampleList(verb, then = () => byId("run").focus()) {
  /** @param {Example} example */
  const item = ({ file, prompt, mask }) => {
    const take = async () => {
      const undo = form.fill({ prompt, ...(mask && { strength: 1 }) });
      await form.pictureField("image")?.takeFrom(`${FOLDER}/${file}`, file);
      if (mask) await form.pictureField("mask")?.takeFrom(`${FOLDER}/${mask}`, mask);
      offerUndo(`${file} and “${prompt}” are in the form.`, undo);
      await then();
    };
    const label = `${verb} ${file} and the prompt ${prompt}`;
    const taken = button("", take, { "aria-label": label });
    const source = `${FOLDER}/thumbnails/${file.replace(/\.\w+$/, ".webp")}`;
    const face = h("img", { src: source, alt: "", loading: "lazy", width: 64, height: 64 });
    taken.append(face, h("span", {}, prompt));
    return h("li", { "data-masked": Boolean(mask) }, taken);
  };
  return h("ul", { class: "examples" }, ...EXAMPLES.map(item));
}

/** Shows of each list of examples what the model of the form can use. */
export function offerExamples() {
  const mask = form.all().find(({ name }) => name === "mask");
  for (const item of document.querySelectorAll(".examples > li")) {
    const isMasked = item.hasAttribute("data-masked");
    item.toggleAttribute("hidden", isMasked ? !mask : Boolean(mask?.isRequired));
  }
}
