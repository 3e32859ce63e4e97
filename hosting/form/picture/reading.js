// How a picture is read that is given as a file or by a URL.

import { ask } from "../page/api.js";
import { announce, h } from "../page/dom.js";
import { readPicture } from "./picture.js";

/** Milliseconds after which it is said that a picture is still being read. */
const LONG = 300;

/** @typedef {import("./picture.js").Picture} Picture */

/**
 * Reads what is given. Of two, the later stays, whichever is read sooner.
 * @param {string} title: of what is read.
 * @param {object} listeners
 * @param {(picture: Picture) => void} listeners.read
 * @param {(text: string) => void} listeners.failed
 */
export function makeReader(title, { read, failed }) {
  const doing = h("p", { class: "hint doing", role: "status" });
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
    /** Says what is being read, where that takes a while. */
    element: doing,
    /**
     * @param {Blob | Promise<Blob>} what
     * @param {string} name
     */
    take(what, name) {
      reading = taken(what, name);
      return reading;
    },
    /**
     * The same of what a URL leads to.
     * @param {string} url
     * @param {string} [name]
     */
    async takeFrom(url, name) {
      if (URL.canParse(url, location.href))
        return this.take(gotten(url), name ?? nameIn(url, title));
      failed(`${url.slice(0, 100)} is not a URL.`);
      return false;
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
