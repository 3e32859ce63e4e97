// A picture that someone gives: known by its first bytes, upright, no larger than is of use, and
// without what a camera wrote into it.

import { contextOf } from "../page/dom.js";
import { carriedBy } from "./making.js";

/** What the model reads. */
/** @type {Record<string, string>} */
const FORMATS = {
  PNG: "image/png",
  JPEG: "image/jpeg",
  WebP: "image/webp",
  GIF: "image/gif",
  BMP: "image/bmp",
  AVIF: "image/avif",
  TIFF: "image/tiff",
};
/** Pixels of the shorter side beyond which a picture is scaled down: no result is larger. */
const ENOUGH = 1024;
/** Pixels that the server takes. */
const MOST = 64e6;

/**
 * A picture that was read.
 * @typedef {object} Picture
 * @property {Blob} blob  what is sent.
 * @property {string} name  for people.
 * @property {string} url  shows it.
 * @property {number?} width  in pixels; null where the browser can't read the format.
 * @property {number?} height  likewise.
 * @property {import("./making.js").Making?} [making]  the settings that it was made with here.
 */

/** @typedef {Picture & {width: number, height: number}} SizedPicture  one that the browser reads. */

/**
 * Reads a file.
 * @param {Blob} file
 * @param {string} name: for people.
 * @returns {Promise<Picture>}
 * @throws {Error} a sentence for the person.
 */
export async function readPicture(file, name) {
  const head = new Uint8Array(await file.slice(0, 12).arrayBuffer());
  const format = formatOf(head);
  const { making, hasExif } = await carriedBy(file);
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    if (format === "TIFF") return picture(file, name, null, null, making);
    throw new Error(unreadable(name, format, head));
  }
  const { width, height } = bitmap;
  try {
    const scale = Math.min(1, ENOUGH / Math.min(width, height));
    if (width * height * scale ** 2 > MOST)
      throw new Error(
        `${name} has ${width} × ${height} pixels, which is too many. Use a smaller picture.`,
      );
    // What a camera wrote, such as where it was, is nobody's business: who shares the prediction
    // shares its input.
    const isPlain = format && (making || !hasExif);
    if (scale === 1 && isPlain) return picture(file, name, width, height, making);
    const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
    const canvas = new OffscreenCanvas(w, h);
    const context = contextOf(canvas);
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, 0, 0, w, h);
    const type = format === "JPEG" || !format ? "image/jpeg" : "image/png";
    const blob = await canvas.convertToBlob({ type, quality: 0.95 });
    return picture(blob, named(name, format, type), w, h, making);
  } finally {
    bitmap.close();
  }
}

/**
 * What a file is called that has another format now.
 * @param {string} name
 * @param {string?} format: that it had.
 * @param {"image/jpeg" | "image/png"} type: that it has.
 */
function named(name, format, type) {
  if (format && FORMATS[format] === type) return name;
  return `${name.replace(/\.\w+$/, "")}.${type === "image/png" ? "png" : "jpg"}`;
}

/**
 * Why a file can't be read.
 * @param {string} name
 * @param {string?} format
 * @param {Uint8Array} head: its first bytes.
 */
function unreadable(name, format, head) {
  if (format) return `${name} is damaged: it can't be read as ${format}.`;
  if (/^....ftyp(hei|hev|mif|msf)/s.test(String.fromCharCode(...head)))
    return `${name} is a HEIC picture, which can't be read here. Export it as JPEG, and use that.`;
  const known = Object.keys(FORMATS).slice(0, -1).join(", ");
  return `${name} can't be read as a picture. Use ${known} or TIFF.`;
}

/**
 * @param {Blob} blob
 * @param {string} name
 * @param {number?} width
 * @param {number?} height
 * @param {Picture["making"]} making
 * @returns {Picture}
 */
function picture(blob, name, width, height, making) {
  return { blob, name, width, height, url: URL.createObjectURL(blob), making };
}

/**
 * A picture's file as a data URL, by which it is sent.
 * @param {{blob: Blob}} picture
 * @returns {Promise<string>}
 */
export async function dataUrl({ blob }) {
  const format = formatOf(new Uint8Array(await blob.slice(0, 12).arrayBuffer()));
  const typed = new Blob([blob], { type: FORMATS[format ?? ""] });
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(String(reader.result));
    reader.onerror = () => failed(new Error("The file can't be read any more. Choose it again."));
    reader.readAsDataURL(typed);
  });
}

/** What is read, as a file picker takes it. */
export const ACCEPTED = Object.values(FORMATS).join(",");

/**
 * A name for a file that has none, by its format.
 * @param {Blob} blob
 * @param {string} name
 */
export async function nameFor(blob, name) {
  const format = formatOf(new Uint8Array(await blob.slice(0, 12).arrayBuffer())) ?? "PNG";
  return `${name}.${format.toLowerCase().replace("jpeg", "jpg")}`;
}

/**
 * The format of a file; null for what is none that is read.
 * @param {Uint8Array} head: its first bytes.
 */
function formatOf(head) {
  const start = String.fromCharCode(...head);
  if (start.startsWith("\x89PNG")) return "PNG";
  if (start.startsWith("\xff\xd8\xff")) return "JPEG";
  if (start.startsWith("RIFF") && start.endsWith("WEBP")) return "WebP";
  if (start.startsWith("GIF8")) return "GIF";
  if (start.startsWith("BM")) return "BMP";
  if (/^....ftypavi[fs]/s.test(start)) return "AVIF";
  return /^(II\*\0|MM\0\*)/.test(start) ? "TIFF" : null;
}
