// What a picture's file carries beside the picture: how it was made here, or what a camera wrote.

/** @typedef {Record<string, import("../inputs/schema.js").Value>} Making  settings, by the inputs' names. */

/**
 * What a file carries.
 * @param {Blob} blob: PNG (a text chunk), WebP or JPEG (EXIF); others carry nothing that is known.
 * @returns {Promise<{making: Making?, hasExif: boolean}>} the settings that it was made with here.
 */
export async function carriedBy(blob) {
  const data = new DataView(await blob.arrayBuffer());
  try {
    const { exif, description } = find(data);
    const text = description ?? (exif === null ? null : exifDescription(data, exif));
    return { making: read(text), hasExif: exif !== null };
  } catch {
    return { making: null, hasExif: false }; // cut off
  }
}

/**
 * @param {string?} text: JSON that may be ours.
 * @returns {Making?}
 */
function read(text) {
  if (text === null) return null;
  try {
    const making = JSON.parse(text);
    return typeof making?.prompt === "string" && "seed" in making ? making : null;
  } catch {
    return null; // somebody else's
  }
}

/**
 * Where the EXIF block begins, and our own text chunk.
 * @param {DataView} data
 */
function find(data) {
  /** @type {number?} */
  let exif = null;
  /** @type {string?} */
  let description = null;
  if (text(data, 1, 3) === "PNG") {
    for (let at = 8; at + 8 < data.byteLength; at += data.getUint32(at) + 12) {
      const kind = text(data, at + 4, 4);
      if (kind === "eXIf") exif = at + 8;
      if (kind === "tEXt" && text(data, at + 8, 12) === "Description\0")
        description = text(data, at + 20, data.getUint32(at) - 12);
    }
  } else if (text(data, 8, 4) === "WEBP") {
    for (let at = 12; at + 8 < data.byteLength; ) {
      const size = data.getUint32(at + 4, true);
      if (text(data, at, 4) === "EXIF") exif = at + 8;
      at += 8 + size + (size % 2);
    }
  } else if (data.byteLength > 4 && data.getUint16(0) === 0xffd8) {
    for (
      let at = 2;
      at + 4 < data.byteLength && data.getUint8(at) === 0xff;
      at += 2 + data.getUint16(at + 2)
    )
      if (text(data, at + 4, 6) === "Exif\0\0") exif = at + 10;
  }
  return { exif, description };
}

/**
 * The tag ImageDescription (270) of a TIFF.
 * @param {DataView} data
 * @param {number} start: where it begins.
 */
function exifDescription(data, start) {
  if (text(data, start, 6) === "Exif\0\0") start += 6;
  const little = text(data, start, 2) === "II";
  const directory = start + data.getUint32(start + 4, little);
  for (let index = 0; index < data.getUint16(directory, little); index++) {
    const entry = directory + 2 + 12 * index;
    if (data.getUint16(entry, little) !== 270) continue;
    const length = data.getUint32(entry + 4, little);
    return text(data, start + data.getUint32(entry + 8, little), length).replace(/\0+$/, "");
  }
  return null;
}

/**
 * @param {DataView} data
 * @param {number} start
 * @param {number} length: in bytes.
 */
function text(data, start, length) {
  const end = Math.min(start + length, data.byteLength);
  let read = "";
  for (let at = start; at < end; at++) read += String.fromCharCode(data.getUint8(at));
  return read;
}
