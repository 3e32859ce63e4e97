// Dialogs that are made when they are wanted, and are gone once they are closed.

import { h } from "./dom.js";

/**
 * Opens one; the focus comes back to where it was when it is closed.
 * @param {string} name: of its elements' ids.
 * @param {string} title
 * @param {...(Node|string|null)} children
 */
export function openDialog(name, title, ...children) {
  const dialog = h(
    "dialog",
    { class: name, "aria-labelledby": `${name}-title` },
    h("h2", { id: `${name}-title` }, title),
    ...children,
    h("p", { class: "unseen", role: "status" }),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}
