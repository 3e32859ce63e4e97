// Style sheets of what is opened seldom: loaded with it, not with the page.

import { h } from "./dom.js";

const loading = /** @type {Map<string, Promise<unknown>>} */ (new Map());

/**
 * Has the page use a style sheet; done when it does.
 * @param {string} name
 */
export function useStyle(name) {
  const there = loading.get(name);
  if (there) return there;
  const link = h("link", { rel: "stylesheet", href: `/form/${name}.css` });
  const done = new Promise((end) => {
    link.addEventListener("load", end);
    link.addEventListener("error", end); // better plain than not at all
  });
  loading.set(name, done);
  document.head.append(link);
  return done;
}
