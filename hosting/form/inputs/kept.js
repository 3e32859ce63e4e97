// What the browser keeps of the form, so that a reload loses nothing.

const DRAFT = "draft";
const STORE = "files";

/** @typedef {import("./schema.js").Value} Value */
/**
 * @typedef {object} KeptFile
 * @property {Blob} blob
 * @property {string} name
 * @property {import("../mask/mask.js").Ground?} [ground]  of a mask: the image that it was made for.
 */

/**
 * Keeps a text, where there is room for it.
 * @param {string} key
 * @param {string} text
 * @returns {boolean} whether there is.
 */
export function keepText(key, text) {
  try {
    localStorage.setItem(key, text);
    return true;
  } catch {
    return false;
  }
}

/**
 * The values that the person has chosen, by the names of the inputs.
 * @returns {Record<string, Value>}
 */
export function draft() {
  try {
    return Object(JSON.parse(localStorage.getItem(DRAFT) ?? "{}"));
  } catch {
    return {};
  }
}

/**
 * Keeps those values.
 * @param {Record<string, Value>} values
 */
export const keepDraft = (values) => keepText(DRAFT, JSON.stringify(values));

/**
 * The files that were chosen, by the names of the inputs.
 * @returns {Promise<Map<string, KeptFile>>}
 */
export async function files() {
  /** @type {string[]?} */
  const names = await request("readonly", (store) => store.getAllKeys());
  /** @type {KeptFile[]?} */
  const chosen = await request("readonly", (store) => store.getAll());
  const kept = new Map();
  for (const [place, name] of (names ?? []).entries())
    if (chosen?.[place]) kept.set(name, chosen[place]);
  return kept;
}

/**
 * Keeps a file, or forgets it.
 * @param {string} name: of the input.
 * @param {KeptFile?} file
 */
export const keepFile = (name, file) =>
  request("readwrite", (store) =>
    file
      ? store.put({ blob: file.blob, name: file.name, ground: file.ground }, name)
      : store.delete(name),
  );

/** Whether the browser keeps what nobody could get back. */
export const hasOwn = () =>
  ["prompts", "styles", "favourites"].some((key) => (localStorage.getItem(key) ?? "[]") !== "[]");

/** Forgets everything, the token too. */
export async function forgetAll() {
  localStorage.clear();
  await request("readwrite", (store) => store.clear());
}

/**
 * Does something with the store; null where the browser keeps nothing.
 * @param {IDBTransactionMode} mode
 * @param {(store: IDBObjectStore) => IDBRequest} work
 */
async function request(mode, work) {
  try {
    const opening = indexedDB.open("form");
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
    const database = await done(opening);
    try {
      return await done(work(database.transaction(STORE, mode).objectStore(STORE)));
    } finally {
      database.close();
    }
  } catch {
    return null;
  }
}

/**
 * What was asked for, when it is there.
 * @template Result
 * @param {IDBRequest<Result>} asked
 * @returns {Promise<Result>}
 */
const done = (asked) =>
  new Promise((succeed, fail) => {
    asked.onsuccess = () => succeed(asked.result);
    asked.onerror = () => fail(asked.error);
  });
