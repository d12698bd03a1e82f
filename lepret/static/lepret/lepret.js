// What htmx does not do by itself: say whether the page is live, keep waiting times current, open
// and close the dialog, and tell assistive technology about errors beside fields.
"use strict";

const FORBIDDEN = 4403;
const HTMX_RECONNECTS_ON = [1006, 1011, 1012, 1013];

htmx.config.wsReconnectDelay = (attempt) =>
  Math.min(5000, 250 * 2 ** attempt) * (0.5 + Math.random() / 2);

function showConnection(state, words) {
  const connection = document.getElementById("connection");
  if (!connection || connection.dataset.state === state) return;
  connection.dataset.state = state;
  connection.firstElementChild.textContent = words;
}

document.addEventListener("htmx:wsOpen", () => showConnection("live", "Live"));

document.addEventListener("htmx:wsClose", (event) => {
  const { event: close, socketWrapper } = event.detail;
  if (close.code === FORBIDDEN) {
    showConnection("gone", "You are logged out. Reload the page to log in.");
    return;
  }
  showConnection("lost", "Connection lost, trying again…");
  if (!HTMX_RECONNECTS_ON.includes(close.code)) {
    setTimeout(() => socketWrapper.reconnect(), htmx.config.wsReconnectDelay(2));
  }
});

function waitedSince(moment) {
  const minutes = Math.floor((Date.now() - new Date(moment).getTime()) / 60000);
  if (minutes < 1) return "less than a minute";
  if (minutes < 60) return minutes === 1 ? "1 minute" : `${minutes} minutes`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return hours === 1 ? "1 hour" : `${hours} hours`;
  return `${Math.floor(hours / 24)} days`;
}

function updateWaitingTimes() {
  for (const time of document.querySelectorAll("time[data-waiting]")) {
    time.textContent = waitedSince(time.dateTime);
  }
}

document.addEventListener("htmx:wsAfterMessage", updateWaitingTimes);
document.addEventListener("DOMContentLoaded", updateWaitingTimes);
setInterval(updateWaitingTimes, 15000);

const denyDialog = () => document.getElementById("deny-dialog");

document.addEventListener("htmx:afterSwap", (event) => {
  const { target, requestConfig } = event.detail;
  if (target.matches("#deny-dialog-content")) openDenyDialog(requestConfig.elt);
  // Not `target.id`: the form's own field of that name would be found instead.
  if (target.matches("#apply")) focusFirstError(document.getElementById("apply"));
  if (target.matches(".field-error")) markValidity(event.target);
});

function openDenyDialog(button) {
  if (denyDialog().open) return;
  const name = button.closest("tr")?.querySelector("th")?.textContent;
  if (name) document.getElementById("deny-title").textContent = `Deny the request of ${name}`;
  denyDialog().showModal();
}

document.addEventListener("decision", () => denyDialog()?.close());

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-close-dialog]")) {
    if (denyDialog()?.open) denyDialog().close();
    else history.back();
  }
});

function focusFirstError(form) {
  form?.querySelector("[aria-invalid=true]")?.focus();
}

function markValidity(error) {
  const input = error.closest(".field").querySelector("input, select, textarea");
  const isInvalid = error.textContent.trim() !== "";
  // Nothing is said of a field that is right and was never wrong.
  if (isInvalid || input.hasAttribute("aria-invalid")) input.setAttribute("aria-invalid", String(isInvalid));
  const helptext = document.getElementById(`${input.id}_helptext`);
  input.setAttribute("aria-describedby", [helptext?.id, error.id].filter(Boolean).join(" "));
}
