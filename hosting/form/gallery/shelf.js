// The controls above the pictures: search, favourites, how large, what is folded away.

import { acting, byId } from "../page/dom.js";
import { canNotify, toggleNotifications, wantsNotifications } from "../page/notifications.js";
import * as history from "./history.js";

/** Milliseconds without a key after which is searched. */
const TYPED = 250;
/** The timer of what was typed and is not yet searched for. */
let typed = 0;

/**
 * @param {string} id: of a button that is on or off.
 * @param {boolean} isOn
 */
const press = (id, isOn) => byId(id).setAttribute("aria-pressed", String(isOn));

/** @param {string} id */
const isPressed = (id) => byId(id).getAttribute("aria-pressed") === "true";

/**
 * Has a button switch something.
 * @param {string} id
 * @param {(isOn: boolean) => unknown} change
 */
function onToggle(id, change) {
  byId(id).addEventListener(
    "click",
    acting(() => {
      press(id, !isPressed(id));
      return change(isPressed(id));
    }),
  );
}

/** Begins to listen. */
function listen() {
  const search = byId("search");
  search.addEventListener("input", () => {
    clearTimeout(typed);
    typed = setTimeout(
      acting(() => {
        typed = 0;
        return history.show({ search: search.value.trim() });
      }),
      TYPED,
    );
  });
  onToggle("favourites", (isFavourites) => history.show({ isFavourites }));
  onToggle("ended", (hasEnded) => history.show({ hasEnded }));
  onToggle("large", (isLarge) => history.show({ isLarge }));
  listenToNotify();
}

/** The switch of notifications, which asks the browser, that may say no. */
function listenToNotify() {
  byId("notify").hidden = !canNotify();
  press("notify", wantsNotifications());
  byId("notify").addEventListener(
    "click",
    acting(async () => {
      await toggleNotifications();
      press("notify", wantsNotifications());
    }),
  );
}

/**
 * Shows what can be chosen of what is there.
 * @param {import("./history.js").Counts} counts
 */
export function showCounts({ all, shown, folded }) {
  showView();
  byId("shelf").hidden = !all && !byId("search").value;
  byId("ended").hidden = !folded;
  byId("ended").textContent = `Stopped and failed (${folded})`;
  byId("nothing").textContent = shown || !all ? "" : nothingOf();
}

/** Shows what is chosen, which not only the controls change. */
function showView() {
  const { search, isFavourites, hasEnded, isLarge } = history.shown();
  press("favourites", isFavourites);
  press("ended", hasEnded);
  press("large", isLarge);
  const box = byId("search");
  if (!typed && box !== document.activeElement) box.value = search;
}

function nothingOf() {
  const { search, isFavourites } = history.shown();
  if (search) return "No prompt has these words.";
  if (isFavourites) return "No favourites yet: the star on a picture makes it one.";
  return "Nothing but what was stopped or has failed.";
}

listen();
