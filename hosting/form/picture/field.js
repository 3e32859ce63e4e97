// The field of an input that is a picture: what is chosen, and what comes while it is read.

import { announce, button, faultOf, h } from "../page/dom.js";
import { makeChosen } from "./chosen.js";
import { makeReader } from "./reading.js";
import { makeWays } from "./ways.js";

/** @typedef {import("./picture.js").Picture} Picture */

/**
 * The field of an input that is a picture.
 * @typedef {object} PictureField
 * @property {HTMLElement} element
 * @property {() => Picture?} get  throws a sentence for what is wrong.
 * @property {(picture: Picture?) => void} set
 * @property {(text: string) => void} say  shows a fault, or takes it away.
 * @property {(name: string, text: string, answers?: Record<string, () => unknown>) => void} note
 *   shows a notice with buttons, or without a text takes away the one of the name.
 * @property {() => void} focus
 * @property {() => void} show  draws it anew.
 * @property {(file: Blob, name?: string) => Promise<boolean>} take  reads a file, and tells whether
 *   it is a picture.
 * @property {(url: string, name?: string) => Promise<boolean>} takeFrom  the same of what a URL
 *   leads to.
 * @property {(frame: import("./frame.js").Frame?) => void} crop  shows what a result shows of it.
 * @property {(x: number, y: number) => void} moveTo  has a result show a place of it, in shares of
 *   its sides.
 * @property {() => Promise<void>} paint  has the person paint on it, where that can be done.
 * @property {() => Promise<boolean>} ready  waits for what is being read.
 */

/**
 * What a field has beside its picture.
 * @typedef {object} More
 * @property {(mask: Picture?) => Promise<Picture?>} [paint]  makes a mask; null where the person
 *   does not.
 * @property {() => Picture?} [under]  the picture that a mask lies on.
 * @property {HTMLElement} [examples]  pictures to try.
 * @property {(picture: Picture) => unknown} [restore]  takes over the settings that a picture
 *   carries.
 * @property {(values: Record<string, import("../inputs/schema.js").Value>) => void} [fit]  takes inputs on
 *   what of it is used.
 * @property {() => void} [another]  called before a picture of another size takes the place of one,
 *   or the person takes it out.
 */

/**
 * A field.
 * @param {import("../inputs/schema.js").Input} input
 * @param {() => void} changed: called when there is another picture, or none.
 * @param {More} more
 * @returns {PictureField}
 */
export function makePictureField(input, changed, more = {}) {
  const id = `input-${input.name}`;
  const title = input.name === "mask" ? "mask" : "picture";
  /** @type {Picture?} */
  let picture = null;
  const fault = h("p", { class: "fault", id: `${id}-fault` });
  const notices = makeNotices(() => field.focus());
  const reader = makeReader(title, {
    read(read) {
      if (picture && !isOfOneSize(picture, read)) more.another?.();
      field.set(read);
    },
    failed: (text) => field.say(text),
  });
  const painted = makePainting(
    more.paint,
    () => picture,
    () => field,
  );
  const paint = more.paint && painted;
  const { examples, ...rest } = more;
  const ways = makeWays(id, title, { ...byHand(() => field), paint, examples });
  const chosen = makeChosen(id, title, {
    ...rest,
    paint,
    replace: ways.pick,
    remove() {
      more.another?.();
      field.set(null);
      ways.focus();
      announce(`The ${title} is removed`);
    },
  });
  const below = [chosen.element, reader.element, notices.element, fault];
  const element = drawn(input, id, [...ways.elements, ...below]);

  /** @type {PictureField} */
  const field = {
    element,
    get() {
      if (picture === null && input.isRequired) throw new Error(`This model needs a ${title}.`);
      return picture;
    },
    set(value) {
      reader.forget();
      const before = picture;
      picture = value;
      field.say("");
      notices.clear();
      field.show();
      if (before !== value) letGo(before);
      changed();
    },
    say(text) {
      fault.textContent = text;
      element.classList.toggle("wrong", text !== "");
      if (text) announce(text);
    },
    note: notices.show,
    show() {
      ways.show(picture === null);
      chosen.show(picture);
    },
    focus: () => (picture ? chosen.focus() : ways.focus()),
    ready: () => reader.ready(),
    take: (blob, name) =>
      reader.take(blob, name ?? ((blob instanceof File && blob.name) || `pasted ${title}.png`)),
    takeFrom: (url, name) => reader.takeFrom(url, name),
    crop: (frame) => chosen.crop(frame),
    moveTo: (x, y) => chosen.moveTo(x, y),
    paint: painted,
  };
  return field;
}

/**
 * @param {Picture} one
 * @param {Picture} other
 */
const isOfOneSize = (one, other) =>
  one.width !== null && one.width === other.width && one.height === other.height;

/**
 * @param {import("../inputs/schema.js").Input} input
 * @param {string} id
 * @param {HTMLElement[]} parts
 */
const drawn = ({ name, label, hint }, id, parts) =>
  h(
    "div",
    { class: "field", "data-name": name, role: "group", "aria-labelledby": `${id}-label` },
    h("span", { class: "label", id: `${id}-label` }, label),
    h("p", { class: "hint", id: `${id}-hint` }, hint),
    ...parts,
  );

/**
 * Not at once: its image may be loading, and would complain.
 * @param {Picture?} picture
 */
const letGo = (picture) => picture && setTimeout(() => URL.revokeObjectURL(picture.url), 1000);

/**
 * What the person gives at the field; the focus goes to it.
 * @param {() => PictureField} to
 */
const byHand = (to) => ({
  /** @param {File} file */
  async take(file) {
    await to().take(file);
    to().focus();
  },
  /** @param {string} url */
  async load(url) {
    if (!/^https?:\/\/./.test(url) || !URL.canParse(url)) {
      to().say("Enter the address of a picture, such as https://example.com/cat.png.");
      return false;
    }
    const isTaken = await to().takeFrom(url);
    if (isTaken) to().focus();
    return isTaken;
  },
});

/**
 * Has the person paint, once at a time.
 * @param {More["paint"]} paint
 * @param {() => Picture?} before: what there is.
 * @param {() => PictureField} to
 */
function makePainting(paint, before, to) {
  let isPainting = false;
  return async () => {
    if (isPainting || !paint) return;
    isPainting = true;
    try {
      const made = await paint(before());
      if (!made) return;
      to().set(made);
      to().focus();
    } catch (error) {
      to().say(faultOf(error));
    } finally {
      isPainting = false;
    }
  };
}

/**
 * Notices below a picture.
 * @param {() => void} leave: puts the focus elsewhere, as a button that was pressed goes.
 */
function makeNotices(leave) {
  const element = h("div", { class: "notices" });
  const shown = /** @type {Map<string, HTMLElement>} */ (new Map());
  return {
    element,
    clear() {
      shown.clear();
      element.replaceChildren();
    },
    /**
     * @param {string} name
     * @param {string} text
     * @param {Record<string, () => unknown>} answers
     */
    show(name, text, answers = {}) {
      const before = shown.get(name);
      if (before?.dataset.text === text) return; // the focus may be in it
      before?.remove();
      shown.delete(name);
      if (!text) return;
      const buttons = Object.entries(answers).map(([answer, act]) =>
        button(answer, async () => {
          await act();
          const { activeElement: focused, body } = document;
          if (focused === body || notice.contains(focused)) leave(); // else it has led elsewhere
        }),
      );
      const notice = h("p", { class: "notice", "data-text": text }, text, ...buttons);
      shown.set(name, notice);
      element.append(notice);
      announce(text);
    },
  };
}
