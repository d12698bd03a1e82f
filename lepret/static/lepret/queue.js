// The underwriters' queue: opens and closes the dialog, and loads the queue again after a refused
// decision.
"use strict";

// When somebody goes back, the browser may show a page as it was left. Names are not kept for that.
window.addEventListener("pagehide", (event) => {
  if (event.persisted && document.getElementById("queue")) document.getElementById("main").remove();
});
window.addEventListener("pageshow", (event) => {
  if (event.persisted && !document.getElementById("main")) location.reload();
});

const denyDialog = () => document.getElementById("deny-dialog");

document.addEventListener("htmx:afterSwap", (event) => {
  const { target, requestConfig } = event.detail;
  if (target.matches("#deny-dialog-content")) openDenyDialog(requestConfig.elt);
});

function openDenyDialog(button) {
  const dialog = denyDialog();
  if (!dialog || dialog.open) return;
  const name = button.closest("tr")?.querySelector("th")?.textContent;
  if (name) document.getElementById("deny-title").textContent = `Deny the request of ${name}`;
  dialog.showModal();
}

document.addEventListener("decision", () => denyDialog()?.close());

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-close-dialog]")) {
    if (denyDialog()?.open) denyDialog().close();
    else history.back();
  }
});

// A decision was refused: the page may be outdated.
document.addEventListener("outdated", async () => {
  if (!document.getElementById("queue")) return;
  await htmx.ajax("GET", location.pathname, { target: "#queue", swap: "outerHTML" });
  // What was pushed meanwhile may be newer than what was fetched.
  liveSocket?.send("start over");
});
