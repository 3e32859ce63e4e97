// What a picture that was made here carries: the settings that it was made with.

/**
 * The making in a file; null where there is none.
 * @param {Blob} blob: PNG (a text chunk), WebP or JPEG (EXIF).
 */
export async function makingOf(blob) {
  const data = new DataView(await blob.arrayBuffer());
  try {
    const making = JSON.parse(descriptionOf(data) ?? "null");
    return typeof making?.prompt === "string" && "seed" in making ? making : null;
  } catch {
    return null; // not ours, or cut off
  }
}

function descriptionOf(data) {
  if (text(data, 1, 3) === "PNG") {
    for (let at = 8; at + 8 < data.byteLength; at += data.getUint32(at) + 12) {
      const content = text(data, at + 8, Math.min(data.getUint32(at), data.byteLength - at - 8));
      if (text(data, at + 4, 4) === "tEXt" && content.startsWith("Description\0"))
        return content.slice(12);
    }
  } else if (text(data, 8, 4) === "WEBP") {
    for (let at = 12; at + 8 < data.byteLength; ) {
      const size = data.getUint32(at + 4, true);
      if (text(data, at, 4) === "EXIF") return exifDescription(data, at + 8);
      at += 8 + size + (size % 2);
    }
  } else if (data.getUint16(0) === 0xffd8) {
    for (let at = 2; at + 4 < data.byteLength; at += 2 + data.getUint16(at + 2))
      if (text(data, at + 4, 6) === "Exif\0\0") return exifDescription(data, at + 10);
  }
  return null;
}

/** The tag ImageDescription (270) of the TIFF that begins at `start`. */
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

function text(data, start, length) {
  let read = "";
  for (let at = start; at < Math.min(start + length, data.byteLength); at++)
    read += String.fromCharCode(data.getUint8(at));
  return read;
}
