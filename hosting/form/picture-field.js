// The field of an input that is a picture: from a file, a URL, the clipboard, a camera.

import { ask } from "./api.js";
import { announce, button, h, save } from "./dom.js";
import { ACCEPTED, readPicture } from "./picture.js";

/** @typedef {import("./picture.js").Picture} Picture */

/**
 * The field of an input that is a picture.
 * @typedef {object} PictureField
 * @property {HTMLElement} element
 * @property {() => Picture?} get  throws a sentence for what is wrong.
 * @property {(picture: Picture?) => void} set
 * @property {(text: string) => void} say  shows a fault, or takes it away.
 * @property {() => void} focus
 * @property {() => void} show  draws it anew.
 * @property {(file: Blob, name?: string) => Promise<boolean>} take  reads a file, and tells whether
 *   it is a picture.
 * @property {(url: string, name?: string) => Promise<boolean>} takeFrom  the same of what a URL
 *   leads to.
 * @property {(frame: import("./frame.js").Frame?) => void} crop  shows what a result shows of it.
 * @property {() => Promise<void>} paint  has the person paint on it, where that can be done.
 * @property {() => Promise<boolean>} ready  waits for what is being read.
 */

/**
 * A field.
 * @param {import("./schema.js").Input} input
 * @param {() => void} changed: called when there is another picture, or none.
 * @param {object} more
 * @param {(mask: Picture?) => Promise<Picture?>} [more.paint]: makes a mask; null where the person
 *   does not.
 * @param {() => Picture?} [more.under]: the picture that a mask lies on.
 * @param {HTMLElement} [more.examples]: pictures to try.
 * @param {(picture: Picture) => void} [more.restore]: takes over the settings that a picture carries.
 * @returns {PictureField}
 */
export function makePictureField(input, changed, { paint, under, examples, restore } = {}) {
  const id = `input-${input.name}`;
  const title = input.name === "mask" ? "mask" : "picture";
  const described = `${id}-hint ${id}-fault`;
  /** @type {Picture?} */
  let picture = null;
  let reading = Promise.resolve(true);
  let newest = 0; // counts what was given: of two, the later stays, whichever is read sooner
  let isPainting = false;

  /** @param {string?} capture: which camera. */
  const pick = (capture) =>
    h("input", {
      type: "file",
      accept: ACCEPTED,
      capture,
      class: "unseen",
      tabindex: -1,
      "aria-hidden": "true",
    });
  const [file, camera] = [pick(null), pick("environment")];
  for (const one of [file, camera])
    one.addEventListener("change", async () => {
      const chosen = one.files?.[0];
      one.value = "";
      if (chosen) await field.take(chosen);
      field.focus();
    });
  const choose = button(`Choose a ${title}`, () => file.click(), {
    id,
    "aria-describedby": described,
  });
  const address = h("input", {
    type: "url",
    placeholder: "https://…",
    "aria-label": `URL of the ${title}`,
    "aria-describedby": `${id}-fault`,
  });
  const fromUrl = h("div", { class: "pair", hidden: true }, address, button("Get it", getIt));
  address.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    getIt();
  });
  /**
   * @param {string} text
   * @param {HTMLElement} shown
   */
  const toggle = (text, shown) =>
    button(
      text,
      (event) => {
        shown.hidden = !shown.hidden;
        event.target.setAttribute("aria-expanded", !shown.hidden);
      },
      { class: "quiet", "aria-expanded": "false" },
    );
  if (examples) examples.hidden = true;
  const drop = h(
    "div",
    { class: "drop" },
    paint ? button("Paint on the image", painted) : null,
    choose,
    h("span", { class: "hint" }, paint ? "" : "or drop or paste one anywhere"),
    h(
      "div",
      { class: "ways" },
      paint ? null : toggle("From a URL", fromUrl),
      paint ? null : button("Camera", () => camera.click(), { class: "quiet touch-only" }),
      examples ? toggle("Examples", examples) : null,
    ),
  );
  const shown = h("figure", { class: "chosen", hidden: true });
  const fault = h("p", { class: "fault", id: `${id}-fault` });
  const element = h(
    "div",
    { class: "field", "data-name": input.name, role: "group", "aria-labelledby": `${id}-label` },
    h("span", { class: "label", id: `${id}-label` }, input.label),
    h("p", { class: "hint", id: `${id}-hint` }, input.hint),
    drop,
    fromUrl,
    examples ?? null,
    shown,
    fault,
    file,
    camera,
  );
  for (const kind of ["dragenter", "dragover"])
    element.addEventListener(kind, () => drop.classList.add("over"));
  for (const kind of ["dragleave", "drop"])
    element.addEventListener(kind, () => drop.classList.remove("over"));

  async function getIt() {
    const url = address.value.trim();
    if (!/^https?:\/\/./.test(url) || !URL.canParse(url))
      return field.say("Give the address of a picture, such as https://example.com/cat.png.");
    if (await field.takeFrom(url)) {
      address.value = "";
      field.focus();
    }
  }

  async function painted() {
    if (isPainting || !paint) return;
    isPainting = true;
    try {
      const made = await paint(picture);
      if (made) field.set(made);
      if (made) field.focus();
    } catch (error) {
      field.say(error.message);
    } finally {
      isPainting = false;
    }
  }

  /** Draws what was chosen. */
  function show() {
    drop.hidden = picture !== null;
    shown.hidden = picture === null;
    const chosen = picture;
    if (chosen === null) return shown.replaceChildren();
    fromUrl.hidden = true;
    if (examples) examples.hidden = true;
    const quiet = { class: "quiet" };
    const canPaint = paint && chosen.width;
    shown.replaceChildren(
      chosen.width ? preview(chosen) : "",
      h(
        "figcaption",
        {},
        h("span", { dir: "auto", class: "name" }, chosen.name),
        h("span", { class: "hint" }, sizeOf(chosen)),
        h("span", { class: "hint result" }),
        h(
          "span",
          { class: "ways" },
          canPaint ? button("Paint on", painted, quiet) : null,
          button(`Another ${title}`, () => file.click(), {
            ...quiet,
            "aria-describedby": described,
          }),
          button("Save", () => save(chosen.blob, chosen.name), quiet),
          button("Remove", remove, quiet),
        ),
      ),
      chosen.making && restore
        ? h(
            "p",
            { class: "notice" },
            "This picture was made here. ",
            button("Take over its settings", () => restore(chosen)),
          )
        : "",
    );
  }

  /** @param {Picture} chosen */
  function preview(chosen) {
    const ground = under?.();
    const isOver = ground && ground.width === chosen.width && ground.height === chosen.height;
    return h(
      "div",
      { class: "preview" },
      isOver ? h("img", { src: ground.url, alt: "" }) : null,
      h("img", {
        src: chosen.url,
        alt: `The ${title} that was chosen`,
        class: isOver ? "over" : null,
      }),
      under ? null : h("div", { class: "crop" }),
    );
  }

  function remove() {
    field.set(null);
    choose.focus();
    announce(`The ${title} is removed`);
  }

  /**
   * Takes what a promise brings, unless something else was given meanwhile.
   * @param {Blob | Promise<Blob>} what
   * @param {string} name
   */
  function taken(what, name) {
    const mine = ++newest;
    const whenRead = async () => {
      let read;
      try {
        read = await readPicture(await what, name);
      } catch (error) {
        if (mine === newest) field.say(error.faults?.url ?? error.message);
        return false;
      }
      if (mine !== newest) {
        URL.revokeObjectURL(read.url);
        return false;
      }
      field.set(read);
      announce(`${name} is the ${title}`);
      return true;
    };
    reading = whenRead();
    return reading;
  }

  /** @type {PictureField} */
  const field = {
    element,
    get() {
      if (picture === null && input.isRequired) throw new Error(`This model needs a ${title}.`);
      return picture;
    },
    set(value) {
      newest++;
      const before = picture;
      picture = value;
      field.say("");
      show();
      // Not at once: its image may be loading, and would complain.
      if (before && before !== value) setTimeout(() => URL.revokeObjectURL(before.url), 1000);
      changed();
    },
    say(text) {
      fault.textContent = text;
      element.classList.toggle("wrong", text !== "");
      if (text) announce(text);
    },
    show,
    focus: () => ((picture && shown.querySelector("button")) || choose).focus(),
    paint: painted,
    ready: () => reading,
    take: (blob, name) =>
      taken(blob, name ?? ((blob instanceof File && blob.name) || `pasted ${title}.png`)),
    async takeFrom(url, name) {
      if (!URL.canParse(url, location.href)) {
        field.say(`${url.slice(0, 100)} is not a URL.`);
        return false;
      }
      const { origin, pathname, search } = new URL(url, location.href);
      const getting =
        origin === location.origin
          ? ask(pathname + search)
          : ask("/form/picture", { body: { url } });
      fault.textContent = "Getting it …";
      const known =
        name ?? (decodeURIComponent(pathname.slice(pathname.lastIndexOf("/") + 1)) || title);
      return taken(
        getting.then((answer) => answer.blob()),
        known,
      );
    },
    crop(frame) {
      /** @type {HTMLElement?} */
      const box = shown.querySelector(".crop");
      const result = shown.querySelector(".result");
      if (!box || !result || !picture?.width || !picture.height) return;
      const { size, box: shares } = frame ?? { size: null, box: [0, 0, 1, 1] };
      result.textContent = size ? `becomes ${size[0]} × ${size[1]} px` : "";
      const [left, top, width, height] = shares.map((share) => `${100 * share}%`);
      Object.assign(box.style, { left, top, width, height });
    },
  };
  return field;
}

/** @param {Picture} picture */
const sizeOf = ({ width, height }) =>
  width ? `${width} × ${height} px` : "this browser can't show it, the model can";
