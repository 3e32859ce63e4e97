// Leadership of a tab where the browser has no locks, as by plain HTTP from another machine.

import { pause } from "./dom.js";

/** Milliseconds that a tab waits for a leader's answer. */
const ANSWER = 400;

/**
 * A way to become the leader: who asks for it and hears nothing is.
 * @param {BroadcastChannel} channel
 * @param {() => Promise<void>} lead
 */
export function byAsking(channel, lead) {
  let isAsking = false;
  const claim = async () => {
    if (isAsking) return;
    isAsking = true;
    let isAnswered = false;
    const listen = (/** @type {MessageEvent} */ { data }) => {
      isAnswered ||= typeof data === "number";
    };
    channel.addEventListener("message", listen);
    channel.postMessage("who?");
    await pause(ANSWER * (1 + Math.random()));
    channel.removeEventListener("message", listen);
    isAsking = false;
    if (!isAnswered) await lead();
  };
  channel.addEventListener("message", ({ data }) => data === "gone" && claim());
  return claim;
}
