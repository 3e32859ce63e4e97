// The field of an input that is a picture: what is chosen, and what comes while it is read.

import { ask } from "../page/api.js";
import { announce, button, h } from "../page/dom.js";
import { makeChosen } from "./chosen.js";
import { readPicture } from "./picture.js";
import { makeWays } from "./ways.js";

/** Milliseconds after which it is said that a picture is still being read. */
const LONG = 300;

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
  const doing = h("p", { class: "hint doing", role: "status" });
  const notices = makeNotices(() => field.focus());
  const reader = makeReader(title, doing, {
    read(read) {
      if (picture && !isOfOneSize(picture, read)) more.another?.();
      field.set(read);
    },
    failed: (text) => field.say(text),
  });
  const painted = makePainting(more.paint, {
    get: () => picture,
    set: (made) => {
      field.set(made);
      field.focus();
    },
    say: (text) => field.say(text),
  });
  const paint = more.paint && painted;
  /** @param {string} url */
  const load = async (url) => {
    if (!/^https?:\/\/./.test(url) || !URL.canParse(url)) {
      field.say("Enter the address of a picture, such as https://example.com/cat.png.");
      return false;
    }
    const isTaken = await field.takeFrom(url);
    if (isTaken) field.focus();
    return isTaken;
  };
  const take = async (/** @type {File} */ file) => {
    await field.take(file);
    field.focus();
  };
  const ways = makeWays(id, title, { take, load, paint, examples: more.examples });
  const chosen = makeChosen(id, title, {
    under: more.under,
    restore: more.restore,
    fit: more.fit,
    paint,
    replace: ways.pick,
    remove() {
      more.another?.();
      field.set(null);
      ways.focus();
      announce(`The ${title} is removed`);
    },
  });
  const element = h(
    "div",
    { class: "field", "data-name": input.name, role: "group", "aria-labelledby": `${id}-label` },
    h("span", { class: "label", id: `${id}-label` }, input.label),
    h("p", { class: "hint", id: `${id}-hint` }, input.hint),
    ...ways.elements,
    chosen.element,
    doing,
    notices.element,
    fault,
  );

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
      // Not at once: its image may be loading, and would complain.
      if (before && before !== value) setTimeout(() => URL.revokeObjectURL(before.url), 1000);
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
    async takeFrom(url, name) {
      if (URL.canParse(url, location.href))
        return reader.take(gotten(url), name ?? nameIn(url, title));
      field.say(`${url.slice(0, 100)} is not a URL.`);
      return false;
    },
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
 * What a URL leads to: the page itself can't reach other sites.
 * @param {string} url
 */
async function gotten(url) {
  const { origin, pathname, search } = new URL(url, location.href);
  const isHere = origin === location.origin;
  const answer = isHere ? ask(pathname + search) : ask("/form/picture", { body: { url } });
  return (await answer).blob();
}

/**
 * What a picture is called by its URL.
 * @param {string} url
 * @param {string} fallback
 */
function nameIn(url, fallback) {
  const name = new URL(url, location.href).pathname.replace(/.*\//s, "");
  try {
    return decodeURIComponent(name) || fallback;
  } catch {
    return name; // a % that encodes nothing
  }
}

/**
 * Reads what is given. Of two, the later stays, whichever is read sooner.
 * @param {string} title: of what is read.
 * @param {HTMLElement} doing: says what is being read, where it takes a while.
 * @param {object} listeners
 * @param {(picture: Picture) => void} listeners.read
 * @param {(text: string) => void} listeners.failed
 */
function makeReader(title, doing, { read, failed }) {
  let reading = Promise.resolve(true);
  let newest = 0;

  /**
   * @param {Blob | Promise<Blob>} what
   * @param {string} name
   */
  async function taken(what, name) {
    const mine = ++newest;
    const isNewest = () => mine === newest;
    doing.textContent = what instanceof Promise ? "Loading it …" : "";
    const late = setTimeout(() => {
      if (isNewest()) doing.textContent = `Reading ${name} …`;
    }, LONG);
    try {
      const picture = await readPicture(await what, name);
      if (!isNewest()) {
        URL.revokeObjectURL(picture.url);
        return false;
      }
      read(picture);
      announce(`${picture.name} is the ${title}`);
      return true;
    } catch (error) {
      if (isNewest()) failed(error.faults?.url ?? error.message);
      return false;
    } finally {
      clearTimeout(late);
      if (isNewest()) doing.textContent = "";
    }
  }

  return {
    /**
     * @param {Blob | Promise<Blob>} what
     * @param {string} name
     */
    take(what, name) {
      reading = taken(what, name);
      return reading;
    },
    ready: () => reading,
    /** What is being read comes too late. */
    forget() {
      newest++;
      doing.textContent = "";
    },
  };
}

/**
 * Has the person paint, once at a time.
 * @param {More["paint"]} paint
 * @param {object} field
 * @param {() => Picture?} field.get
 * @param {(picture: Picture) => void} field.set
 * @param {(text: string) => void} field.say
 */
function makePainting(paint, { get, set, say }) {
  let isPainting = false;
  return async () => {
    if (isPainting || !paint) return;
    isPainting = true;
    try {
      const made = await paint(get());
      if (made) set(made);
    } catch (error) {
      say(error.message);
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
          leave();
        }),
      );
      const notice = h("p", { class: "notice", "data-text": text }, text, ...buttons);
      shown.set(name, notice);
      element.append(notice);
      announce(text);
    },
  };
}
