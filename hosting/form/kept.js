// What the browser keeps of the form, so that a reload loses nothing.

const DRAFT = "draft";
const STORE = "files";

/** The values that the person has chosen, by the names of the inputs. */
export function draft() {
  try {
    return Object(JSON.parse(localStorage.getItem(DRAFT)));
  } catch {
    return {};
  }
}

/** Keeps those values. */
export const keepDraft = (values) => localStorage.setItem(DRAFT, JSON.stringify(values));

/** The files that were chosen, by the names of the inputs: `{blob, name}`. */
export async function files() {
  const names = await request("readonly", (store) => store.getAllKeys());
  const chosen = await request("readonly", (store) => store.getAll());
  return new Map((names ?? []).map((name, place) => [name, chosen[place]]));
}

/** Keeps a file, or forgets it. */
export const keepFile = (name, file) =>
  request("readwrite", (store) =>
    file ? store.put({ blob: file.blob, name: file.name }, name) : store.delete(name),
  );

/** Forgets everything, the token too. */
export async function forgetAll() {
  localStorage.clear();
  await request("readwrite", (store) => store.clear());
}

/** Does something with the store; null where the browser keeps nothing. */
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

const done = (asked) =>
  new Promise((succeed, fail) => {
    asked.onsuccess = () => succeed(asked.result);
    asked.onerror = () => fail(asked.error);
  });
