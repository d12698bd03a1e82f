// What htmx does not do: show whether the page is live, and clear it when it has ended, update waiting times, open and close the
// dialog, reload the queue after a refused decision, show that no answer came, and tell assistive
// technology about errors beside fields.
"use strict";

const HTMX_RECONNECTS_ON = [1006, 1011, 1012, 1013];

let attempts = 0; // to connect, since the page was last sent anything
const reconnectDelay = () => Math.min(5000, 250 * 2 ** attempts++) * (0.5 + Math.random() / 2);
htmx.config.wsReconnectDelay = reconnectDelay;

function showConnection(state, words) {
  const connection = document.getElementById("connection");
  if (!connection || connection.dataset.state === state) return;
  connection.dataset.state = state;
  connection.firstElementChild.textContent = words;
}

let liveSocket;

document.addEventListener("htmx:wsOpen", (event) => {
  liveSocket = event.detail.socketWrapper;
});

document.addEventListener("htmx:wsAfterMessage", () => {
  attempts = 0;
  showConnection("live", "Live");
  updateWaitingTimes();
});

document.addEventListener("htmx:wsClose", (event) => {
  const { event: close, socketWrapper } = event.detail;
  const ending = document.getElementById(`ended-${close.code}`);
  if (ending) {
    // The page may not be shown any more: the names that it shows go, too.
    document.getElementById("main").replaceChildren(ending.content.cloneNode(true));
    return;
  }
  showConnection("lost", "Connection lost, trying again…");
  if (!HTMX_RECONNECTS_ON.includes(close.code)) {
    setTimeout(() => socketWrapper.reconnect(), reconnectDelay());
  }
});

// When somebody goes back, the browser may show a page as it was left. Names are not kept for that.
window.addEventListener("pagehide", (event) => {
  if (event.persisted && document.getElementById("queue")) document.getElementById("main").remove();
});
window.addEventListener("pageshow", (event) => {
  if (event.persisted && !document.getElementById("main")) location.reload();
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

document.addEventListener("DOMContentLoaded", updateWaitingTimes);
setInterval(updateWaitingTimes, 15000);

const denyDialog = () => document.getElementById("deny-dialog");

document.addEventListener("htmx:afterSwap", (event) => {
  const { target, requestConfig } = event.detail;
  if (target.matches("#deny-dialog-content")) openDenyDialog(requestConfig.elt);
  // Not `target.id`: the form's own field of that name would be found instead.
  if (target.matches("#apply")) {
    keepFormId({ isBack: false });
    showFirstError(document.getElementById("apply"));
  }
  if (target.matches(".field-error")) markValidity(event.target);
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

function showFirstError(form) {
  const field = form?.querySelector("[aria-invalid=true]");
  if (field) field.focus();
  else form?.querySelector(".notice:not([hidden])")?.scrollIntoView({ block: "center" });
}

// A decision was refused: the page may be outdated.
document.addEventListener("outdated", async () => {
  if (!document.getElementById("queue")) return;
  await htmx.ajax("GET", location.pathname, { target: "#queue", swap: "outerHTML" });
  // What was pushed meanwhile may be newer than what was fetched.
  liveSocket?.send("start over");
});

// Never put a whole page (a proxy's, the login form, an error page) inside this one.
document.addEventListener("htmx:beforeSwap", (event) => {
  if (!/^\s*<(!doctype|html)/i.test(event.detail.xhr.responseText)) return;
  event.detail.shouldSwap = false;
  event.detail.isError = true;
});

for (const failure of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(failure, ({ detail }) => showFailure(detail.elt, true));
}
document.addEventListener("htmx:beforeRequest", ({ detail }) => showFailure(detail.elt, false));

function showFailure(form, hasFailed) {
  if (!form.matches("form, body")) return; // A field is validated again at the next key.
  const words = form.querySelector(".failure") ?? document.querySelector("main > .failure");
  if (!words) return;
  words.hidden = !hasFailed;
  if (!hasFailed) return;
  document.getElementById("notices")?.replaceChildren(); // They belong to an earlier request.
  words.scrollIntoView({ block: "center" });
}

// Each form has an id, so that it makes one loan request however often it is sent. When somebody
// goes back and the browser loads the form again, it arrives with another id: restore the old one.
function keepFormId({ isBack }) {
  const field = document.getElementById("id_id");
  if (!field) return;
  if (isBack && history.state?.number) field.value = history.state.number;
  history.replaceState({ ...history.state, number: field.value }, "");
}

document.addEventListener("DOMContentLoaded", () => {
  const [navigation] = performance.getEntriesByType("navigation");
  keepFormId({ isBack: navigation.type === "back_forward" });
});

// When somebody goes back, the browser may show the page as it was left, with its button disabled.
// htmx would still take the request for unfinished, so the form is replaced by a copy.
window.addEventListener("pageshow", (event) => {
  const form = document.getElementById("apply");
  if (!event.persisted || !form) return;
  const fresh = form.cloneNode(true);
  fresh.classList.remove("htmx-request");
  fresh.querySelector("[data-disabled-by-htmx]")?.removeAttribute("disabled");
  form.replaceWith(fresh);
  htmx.process(fresh);
});

function markValidity(error) {
  const input = error.closest(".field").querySelector("input, select, textarea");
  const isInvalid = error.textContent.trim() !== "";
  // A field that is valid and was never invalid is not marked.
  if (isInvalid || input.hasAttribute("aria-invalid")) input.setAttribute("aria-invalid", String(isInvalid));
  const helptext = document.getElementById(`${input.id}_helptext`);
  input.setAttribute("aria-describedby", [helptext?.id, error.id].filter(Boolean).join(" "));
}
