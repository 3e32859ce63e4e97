// A prediction in words: how far it is, how it ended, what it was made with.

/** @typedef {import("./predictions.js").Prediction} Prediction */

const AGO = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
/** The largest number of each unit that is said in it, and how many of it make the next. */
const UNITS = /** @type {[Intl.RelativeTimeFormatUnit, number][]} */ ([
  ["minute", 60],
  ["hour", 24],
  ["day", Infinity],
]);

/** How far it is. @param {Prediction} prediction */
export function statusOf({ status, queue, metrics }) {
  if (status === "starting") return queue ? waitOf(queue) : "Waiting";
  if (status === "processing") {
    if (!metrics?.progress) return "Starting";
    const { step, steps, seconds_left: left } = metrics.progress;
    return `Step ${step} of ${steps}, ${timeOf(left)} left`;
  }
  if (status === "failed") return "Failed";
  return status === "succeeded" ? "Done" : "Stopped";
}

/** @param {import("./predictions.js").Place} place */
function waitOf({ position, estimated_wait: wait, reason }) {
  if (reason === "starting") return "Waiting: the model is starting";
  const place = position === 1 ? "next in the queue" : `number ${position} in the queue`;
  const about = wait && wait >= 1 ? `, about ${timeOf(wait)}` : "";
  return `Waiting: ${place}${about}`;
}

/** @param {number} seconds */
function timeOf(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}

/** What it was made with, and when. @param {Prediction} prediction */
export function aboutOf({ input, created_at: created, metrics }) {
  const size = input.width && input.height ? `${input.width} × ${input.height}` : null;
  const many = input.num_inference_steps;
  const steps = many && `${many} ${Number(many) === 1 ? "step" : "steps"}`;
  const took = metrics?.predict_time && `took ${metrics.predict_time.toFixed(1)} s`;
  return [steps, size, input.scheduler, took, agoOf(created)].filter(Boolean).join(" · ");
}

/**
 * How long ago something was.
 * @param {string} when
 */
function agoOf(when) {
  let amount = Math.max(0, (Date.now() - new Date(when).getTime()) / 60000);
  if (amount < 1) return "just now";
  for (const [unit, many] of UNITS) {
    if (Math.round(amount) < many) return AGO.format(-Math.round(amount), unit);
    amount /= many;
  }
  return "";
}

/** What the model said of it. @param {Prediction} prediction */
export const notesOf = ({ metrics }) => metrics?.notes ?? [];

/** How it ended, for who does not see it. @param {Prediction} prediction */
export function endOf(prediction) {
  const { status, output, error, input } = prediction;
  const count = [output ?? []].flat().length;
  if (status === "failed") return `Failed: ${error}`;
  const { prompt } = input;
  if (status === "canceled" || status === "aborted")
    return prompt ? `Stopped: ${prompt}` : "Stopped";
  const pictures = `${count} ${count === 1 ? "picture" : "pictures"}`;
  const done = prompt ? `Done: ${pictures} of ${prompt}` : `Done: ${pictures}`;
  return [done, ...notesOf(prediction)].join("\n");
}
