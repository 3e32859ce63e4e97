// Pictures that are dropped or pasted anywhere on the page.

import * as form from "./form.js";

/** Pictures may be dropped and pasted anywhere; text only where it belongs. */
export function listenForPictures() {
  /** @param {Event} event */
  const isText = ({ target }) => target instanceof Element && target.matches("textarea, input");
  /**
   * @param {DataTransfer?} dragged
   * @returns {dragged is DataTransfer} whether it may be a picture.
   */
  const brings = (dragged) =>
    ["Files", "text/uri-list"].some((type) => dragged?.types.includes(type));
  document.addEventListener("dragover", (event) => {
    const dragged = event.dataTransfer;
    if (brings(dragged) && !(isText(event) && dragged.types.includes("text/plain")))
      event.preventDefault();
  });
  document.addEventListener("drop", (event) => {
    const dragged = event.dataTransfer;
    if (!brings(dragged)) return;
    const [file] = dragged.files;
    const lines = dragged.getData("text/uri-list").split(/\r?\n/);
    const url = lines.find((line) => line && !line.startsWith("#"));
    if (!file && (!url || isText(event))) return;
    event.preventDefault();
    const over = event.target instanceof Element ? event.target.closest("[data-name]") : null;
    const name = over?.getAttribute("data-name") || "image";
    const taker = form.pictureField(name) ?? form.pictureField("image");
    if (file) taker?.take(file);
    else if (url) taker?.takeFrom(url);
  });
  document.addEventListener("paste", (event) => {
    const pasted = event.clipboardData;
    const file = pasted?.files[0];
    const isWords = isText(event) && pasted?.types.includes("text/plain");
    if (file && !isWords) form.pictureField("image")?.take(file);
  });
}
