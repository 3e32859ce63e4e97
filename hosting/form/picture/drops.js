// Pictures that are dropped or pasted anywhere on the page.

import * as form from "../inputs/form.js";
import { acting, h } from "../page/dom.js";

/**
 * Pictures may be dropped and pasted anywhere; text only where it belongs.
 * @param {(files: File[]) => unknown} runEach: takes several, to be run each.
 */
export function listenForPictures(runEach) {
  /**
   * Takes what was given: one picture into its field, several to be run each.
   * @param {string} name: of the input.
   * @param {File[]} files
   * @param {string} [url]: where there is no file.
   */
  const take = (name, files, url) =>
    acting(async () => {
      const field = form.pictureField(name) ?? form.pictureField("image");
      if (!field) return;
      form.chooseTab("inputs");
      if (files.length > 1) await runEach(files);
      else if (files.length) await field.take(files[0]);
      else if (url) await field.takeFrom(url);
    })();
  const sign = makeSign();
  document.addEventListener("dragenter", (event) => {
    if (isWelcome(event)) sign.show(nameAt(event), event.dataTransfer);
  });
  document.addEventListener("dragover", (event) => {
    if (isWelcome(event)) event.preventDefault();
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) sign.hide(); // it has left the window
  });
  for (const kind of ["drop", "dragend"]) document.addEventListener(kind, sign.hide);
  document.addEventListener("drop", (event) => {
    const dragged = event.dataTransfer;
    if (!brings(dragged)) return;
    const url = urlIn(dragged.getData("text/uri-list"));
    if (!dragged.files.length && (!url || isText(event))) return;
    event.preventDefault();
    take(nameAt(event), [...dragged.files], url);
  });
  document.addEventListener("paste", (event) => {
    const pasted = event.clipboardData;
    if (!pasted || document.querySelector("dialog[open]")) return;
    const text = pasted.getData("text/plain").trim();
    const isWords = isText(event) && text;
    const url = !isText(event) && /^https?:\/\/\S+$/.test(text) ? text : undefined;
    if (!isWords && (pasted.files.length || url)) take("image", [...pasted.files], url);
  });
}

/** @param {Event} event */
const isText = ({ target }) => target instanceof Element && target.matches("textarea, input");

/**
 * @param {DataTransfer?} dragged
 * @returns {dragged is DataTransfer} whether it may be a picture.
 */
const brings = (dragged) =>
  ["Files", "text/uri-list"].some((type) => dragged?.types.includes(type));

/** Whether what is dragged may be dropped here. @param {DragEvent} event */
const isWelcome = (event) =>
  brings(event.dataTransfer) &&
  !document.querySelector("dialog[open]") &&
  !(isText(event) && event.dataTransfer?.types.includes("text/plain"));

/** The first URL of a list. @param {string} list */
const urlIn = (list) => list.split(/\r?\n/).find((line) => line && !line.startsWith("#"));

/**
 * The input that a picture is for that is dropped at a place.
 * @param {DragEvent} event
 */
function nameAt({ target }) {
  const over = target instanceof Element ? target.closest("[data-name]") : null;
  return over?.getAttribute("data-name") === "mask" ? "mask" : "image";
}

/** What is shown over the page while a picture is dragged over it. */
function makeSign() {
  const words = h("p", {});
  const sign = h("div", { class: "drop-sign", hidden: true, "aria-hidden": "true" }, words);
  document.body.append(sign);
  const mark = (/** @type {string} */ name) => {
    for (const one of document.querySelectorAll("[data-name].over")) one.classList.remove("over");
    document.querySelector(`[data-name="${name}"]`)?.classList.add("over");
  };
  return {
    /**
     * @param {string} name: of the input that it would be for.
     * @param {DataTransfer?} dragged
     */
    show(name, dragged) {
      const files = [...(dragged?.items ?? [])].filter(({ kind }) => kind === "file").length;
      words.textContent =
        files > 1
          ? `Drop ${files} pictures to run the form on each`
          : `Drop it anywhere to use it as the ${name}`;
      sign.hidden = false;
      mark(name);
    },
    hide() {
      sign.hidden = true;
      mark("");
    },
  };
}
