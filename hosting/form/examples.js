// Pictures and prompts to try.

import { announce, button, byId, h } from "./dom.js";
import * as form from "./form.js";

const EXAMPLES = [
  { file: "cat.png", prompt: "a fox", seed: 0 },
  { file: "orange.jpg", prompt: "a pumpkin", seed: 2 },
  { file: "face.png", prompt: "a panda", seed: 3 },
  { file: "car.png", prompt: "a blue car", seed: 4 },
  { file: "house.png", prompt: "a castle", seed: 4 },
];

/**
 * Examples as buttons; the form has what each is for.
 * @param {string} verb
 */
export function exampleList(verb) {
  /** @param {typeof EXAMPLES[number]} example */
  const one = ({ file, prompt, seed }) => {
    const take = async () => {
      form.fill({ prompt, seed });
      await form.pictureField("image")?.takeFrom(`/form/examples/${file}`, file);
      announce(`${file} and the prompt ${prompt} are in the form`);
      byId("run").focus();
    };
    const label = `${verb} ${file} and the prompt ${prompt}`;
    const taken = button("", take, { "aria-label": label });
    const source = `/form/examples/${file}`;
    const face = h("img", { src: source, alt: "", loading: "lazy", width: 64, height: 64 });
    taken.append(face, h("span", {}, prompt));
    return h("li", {}, taken);
  };
  return h("ul", { class: "examples" }, ...EXAMPLES.map(one));
}
