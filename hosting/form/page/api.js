// The client of the server that gave this page: its token, its errors, its absence.

import { byId, pause } from "./dom.js";

/** What the server refuses; `faults` are by the names of the inputs. */
export class Problem extends Error {
  /**
   * @param {number} status: 0 where no server answered.
   * @param {string} detail
   * @param {Record<string, string>} faults
   */
  constructor(status, detail, faults = {}) {
    super(detail);
    this.status = status;
    this.faults = faults;
  }
}

/** Said where something was sent, and nobody knows whether it came. */
const AWAY = "The server does not answer. Try again when it is back.";

/** The token that was given, or none. */
export const token = () => localStorage.getItem("token");

/**
 * Asks the server. One that does not answer is asked again until it does, and one that says when
 * it has time again, then.
 * @param {string} path
 * @param {object} how
 * @param {object} [how.body]: sent as JSON.
 * @param {string} [how.method]: POST where there is a body, else GET.
 * @param {string} [how.accept]: the type of the answer.
 * @param {AbortSignal} [how.signal]: ends it.
 * @param {boolean} [how.isOnce]: whether to ask twice is something else than to ask once.
 * @returns {Promise<Response>}
 * @throws {Problem}
 */
export async function ask(path, { body, method, accept, signal, isOnce } = {}) {
  method ??= body ? "POST" : "GET";
  isOnce ??= method === "POST";
  for (;;) {
    const asWho = token();
    const headers = headersOf(asWho, accept, body);
    let answer;
    try {
      answer = await fetch(path, { method, headers, signal, body: body && JSON.stringify(body) });
    } catch (error) {
      if (signal?.aborted) throw error;
      if (isOnce) {
        // Nobody knows whether it was taken: to ask twice may be to draw twice.
        reconnect();
        throw new Problem(0, AWAY);
      }
      await reconnect();
      continue;
    }
    if (answer.ok) return answer;
    if (answer.status === 401) {
      await askForToken(asWho);
      continue;
    }
    if (!isOnce && [429, 502, 503, 504].includes(answer.status)) {
      // The front itself, that is busy or starts; or a proxy whose front is away.
      const isFront = answer.headers.get("content-type") === "application/problem+json";
      await (isFront || answer.status === 429 ? pause(waitOf(answer)) : reconnect());
      continue;
    }
    throw await problemOf(answer);
  }
}

/**
 * @param {string?} asWho
 * @param {string} [accept]
 * @param {object} [body]
 */
function headersOf(asWho, accept = "application/json", body) {
  /** @type {Record<string, string>} */
  const headers = { Accept: accept };
  if (asWho) headers.Authorization = `Bearer ${asWho}`;
  if (body) headers["Content-Type"] = "application/json";
  return headers;
}

/**
 * Milliseconds until the server may be asked again, spread so that not all come at once.
 * @param {Response} answer
 */
function waitOf({ headers, status }) {
  const seconds = Number(headers.get("retry-after")) || 1;
  return 1000 * (status === 429 ? Math.min(seconds, 60) : 1) * (1 + Math.random() / 2);
}

/**
 * The same, for what is JSON.
 * @param {string} path
 * @param {Parameters<typeof ask>[1]} [how]
 * @returns {Promise<any>}
 */
export const askJson = async (path, how) => (await ask(path, how)).json();

/**
 * A URL of the server as this page reaches it, whatever name the server gives itself.
 * @param {string} url
 */
export function here(url) {
  const { pathname, search } = new URL(url, location.href);
  return pathname + search;
}

/** @param {Response} answer */
async function problemOf(answer) {
  /** @type {{detail?: string, invalid_fields?: {field: string, description: string}[]}} */
  let said = {};
  try {
    said = await answer.json();
  } catch {
    // A proxy's page, or nothing.
  }
  /** @type {Record<string, string>} */
  const faults = {};
  for (const { field, description } of said.invalid_fields ?? [])
    faults[field.replace(/^input\./, "")] ??= description;
  return new Problem(answer.status, said.detail ?? `The server answered ${answer.status}.`, faults);
}

/** @type {Promise<void>?} */
let reconnecting = null;

/** Says that the server is away, and waits until it is back. */
function reconnect() {
  reconnecting ??= (async () => {
    const shown = byId("connection");
    shown.textContent = "The server does not answer. Your pictures are safe; trying again …";
    for (;;) {
      await pause(700);
      try {
        if ((await fetch("/health-check")).ok) break;
      } catch {
        // Not yet.
      }
    }
    const isLost = byId("fault").textContent === AWAY;
    if (isLost) byId("fault").textContent = "";
    shown.textContent = `The server is back.${isLost ? " Press Run again if nothing new is there." : ""}`;
    setTimeout(() => {
      shown.textContent = "";
    }, 4000);
    reconnecting = null;
  })();
  return reconnecting;
}

/** @type {Promise<void>?} */
let asking = null;

/**
 * Asks the visitor for a token, once however many requests want it.
 * @param {string?} refused: the token that was sent.
 */
function askForToken(refused) {
  if (token() !== refused) return null; // another request has asked meanwhile
  asking ??= new Promise((done) => {
    const dialog = byId("token");
    byId("token-fault").textContent = refused ? "The server does not know this token." : "";
    dialog.addEventListener(
      "close",
      () => {
        localStorage.setItem("token", byId("token-text").value.trim());
        byId("token-text").value = "";
        byId("forget-token").hidden = false;
        asking = null;
        done();
      },
      { once: true },
    );
    dialog.showModal();
  });
  return asking;
}
