// All that can be done with a picture and its prediction, as a menu.

import { copyText } from "../page/dom.js";
import { openMenu } from "../page/menu.js";
import { toast } from "../page/toast.js";
import { isFavourite, toggleFavourite } from "./favourites.js";
import { download, settingsOf, thereOf } from "./predictions.js";

/** How much of a picture is drawn anew for more like it, in words. */
const VARIATIONS = { "a little": 0.3, more: 0.5, much: 0.7 };

/** @typedef {import("../page/menu.js").Item} Item */
/** @typedef {import("./predictions.js").ThereDrawn} ThereDrawn */
/** @typedef {import("./tile.js").Host} Host */

/**
 * Opens the menu of a picture.
 * @param {HTMLElement} anchor: beside which it opens.
 * @param {Host} host
 * @param {ThereDrawn} drawn
 */
export function openTileMenu(anchor, host, drawn) {
  openMenu(anchor, [...pictureItems(host, drawn), null, ...predictionItems(host, drawn)]);
}

/**
 * @param {Host} host
 * @param {ThereDrawn} drawn
 * @returns {Item[]}
 */
function pictureItems({ prediction, actions }, drawn) {
  const { useAsInput, paintOn, vary, enlarge, extend, copyPicture } = actions;
  const now = prediction();
  /** @type {(Item | undefined)[]} */
  const items = [
    { name: "Download", sign: "download", act: () => download(drawn) },
    useAsInput && { name: "Use as input", sign: "input", act: () => useAsInput(drawn) },
    paintOn && { name: "Paint on it", sign: "paint", act: () => paintOn(drawn) },
    vary && {
      name: "More like this",
      sign: "vary",
      choices: Object.entries(VARIATIONS).map(([name, strength]) => ({
        name,
        act: () => vary(now, drawn, strength),
      })),
    },
    enlarge && { name: "Enlarge", sign: "enlarge", act: () => enlarge(now, drawn) },
    extend && { name: "Extend", sign: "extend", act: () => extend(drawn) },
    copyPicture && { name: "Copy", sign: "copy", act: () => copyPicture(drawn) },
    {
      name: isFavourite(now, drawn.index) ? "Remove from favourites" : "Favourite",
      sign: "star",
      act: () => toggleFavourite(now, drawn.index),
    },
  ];
  return items.filter((item) => item !== undefined);
}

/**
 * @param {Host} host
 * @param {ThereDrawn} drawn
 * @returns {Item[]}
 */
function predictionItems({ prediction, actions }, drawn) {
  const { reuse, share, saveAll, remove } = actions;
  const now = prediction();
  const copySettings = async () => {
    await copyText(settingsOf(now, drawn.seed));
    toast("The settings are copied");
  };
  const count = thereOf(now).length;
  /** @type {(Item | undefined)[]} */
  const items = [
    { name: "Use its settings and seed", sign: "settings", act: () => reuse(now, drawn) },
    { name: "Copy settings", sign: "copy", act: copySettings },
    share && { name: "Share", sign: "share", act: () => share(now) },
    count > 1 && saveAll
      ? { name: `Download all ${count}`, sign: "download", act: () => saveAll(now) }
      : undefined,
    remove && {
      name: count > 1 ? `Delete all ${count}` : "Delete",
      sign: "trash",
      act: () => remove(now),
    },
  ];
  return items.filter((item) => item !== undefined);
}
