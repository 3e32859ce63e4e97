// Of all tabs of a browser, the one that does what must be done once.

/** Milliseconds after which a leader that says nothing is taken for asleep: it speaks every 15 s. */
const SILENT = 40000;

/**
 * What a tab says of itself.
 * @typedef {object} Election
 * @property {() => void} speak  tells the others that the leader is awake.
 */

/**
 * Has one tab work, and another when it closes or falls asleep.
 * @param {string} name
 * @param {(until: AbortSignal) => Promise<void>} work: goes on until it is told to end.
 * @returns {Election}
 */
export function elect(name, work) {
  const channel = new BroadcastChannel(`${name}: leader`);
  let heard = Date.now();
  /** @type {AbortController | null} */
  let leading = null;
  const me = Math.random();
  const speak = () => channel.postMessage(me);
  const lead = async () => {
    const reign = new AbortController();
    leading?.abort();
    leading = reign;
    speak();
    await work(reign.signal);
  };
  const abdicate = () => {
    leading?.abort();
    leading = null;
    heard = Date.now();
  };
  const claims = navigator.locks
    ? Promise.resolve(byLock(name, lead, abdicate))
    : import("./leader-by-asking.js").then(({ byAsking }) => byAsking(channel, lead));
  /** @param {boolean} steal: from a leader that sleeps. */
  const claim = async (steal) => (await claims)(steal);
  channel.addEventListener("message", ({ data }) => {
    heard = Date.now();
    if (data === "who?" && leading) speak();
    // Without locks two may have begun at once: one of them leaves it to the other.
    if (data < me && leading && !navigator.locks) abdicate();
  });
  addEventListener("pagehide", () => leading && channel.postMessage("gone"));
  setInterval(() => {
    if (!leading && !document.hidden && Date.now() - heard > SILENT) claim(true);
  }, 5000);
  claim(false);
  return { speak };
}

/**
 * Leadership by a lock that the browser gives to one tab; one may be taken from a tab that sleeps.
 * @param {string} name
 * @param {() => Promise<void>} lead
 * @param {() => void} abdicate
 */
function byLock(name, lead, abdicate) {
  let waiting = new AbortController();
  /** @param {boolean} steal */
  const claim = async (steal) => {
    waiting.abort();
    waiting = new AbortController();
    const { signal } = waiting;
    try {
      await navigator.locks.request(name, steal ? { steal } : { signal }, lead);
    } catch {
      if (signal.aborted) return; // this tab itself has claimed it otherwise
      abdicate();
      claim(false);
    }
  };
  return claim;
}
