// What can be undone has not been sent. For as long as the policy says, Approve and Deny wait in the
// page, and nowhere else: whoever closes it, or loads it anew, has decided nothing. Whatever else is
// done meanwhile, but for leaving without one of the page's links, sends what waits at once.
const DECISION = /([0-9a-f-]{36})\/(approve|deny)\/$/;
const DECIDING = { approve: "Approving", deny: "Denying" };
const UNDONE = { approve: "Not approved", deny: "Not denied" };
const LONGEST_HOLD = 5000; // milliseconds, that what comes after a decision waits for its answer

const unanswered = new Map(); // decisions that wait or were sent, by the ids of their requests
let waiting; // the one of them that can be undone

const undoSeconds = () => Number(document.querySelector("[data-undo-seconds]")?.dataset.undoSeconds);
const placeOf = (id) => document.getElementById(`request-${id}`) ?? document.querySelector(".decide");

document.addEventListener("htmx:confirm", (event) => {
  const { elt, path, verb, triggeringEvent, issueRequest } = event.detail;
  // What a script asks for, nobody has pressed; and what waits, when it is sent.
  if (!triggeringEvent || [...unanswered.values()].some(({ form }) => form === elt)) return;
  const [, id, what] = (verb === "post" && path.match(DECISION)) || [];
  if (!what) return comeAfter(event, issueRequest, { leaves: path.endsWith("/next/") });
  if (waiting?.id !== id) send();
  if (unanswered.has(id)) event.preventDefault();
  else if (undoSeconds() > 0 && !isIncomplete(elt)) {
    event.preventDefault();
    wait(elt, { id, what, path });
  }
});

/** Whether it is known that a denial would be refused: then the answer says so at once. */
function isIncomplete(element) {
  if (!element.querySelector("[name=reasons]")) return false;
  const reasons = [...element.querySelectorAll("[name=reasons]:checked")].map(({ value }) => value);
  const hasOwnWords = element.querySelector("[name=reason_text]").value.trim() !== "";
  return reasons.length === 0 || reasons.includes("other") !== hasOwnWords;
}

/** Have a decision wait, that `element` was to send: a form, or a button in the list. */
function wait(element, { id, what, path }) {
  const dialog = element.closest("dialog");
  // The row may be gone since the dialog was opened.
  const who = element.dataset.who ?? (document.getElementById(`name-${id}`) ?? document.querySelector("h1")).textContent;
  waiting = { id, what, dialog, who, form: dialog ? element : copyOf(element, path) };
  // Nobody can change it in a dialog that is closed, and whatever is asked for there comes after it.
  dialog?.close();
  waiting.answered = new Promise((resolve) => { waiting.answer = resolve; });
  waiting.timer = setTimeout(send, 1000 * undoSeconds());
  waiting.notice = noticeOf(waiting);
  unanswered.set(id, waiting);
  notices().prepend(waiting.notice);
  mark(waiting);
}

/** A form of what is sent, as it was shown: the row may be replaced or gone by then. */
function copyOf(element, path) {
  const copy = document.createElement("form");
  copy.hidden = true;
  for (const [name, value] of [["hx-post", path], ["hx-target", "#notices"], ["hx-swap", "afterbegin"]]) {
    copy.setAttribute(name, value);
  }
  const sent = element.matches("form") ? new FormData(element) : new FormData(element.form, element);
  for (const [name, value] of sent) {
    copy.append(Object.assign(document.createElement("input"), { type: "hidden", name, value }));
  }
  document.querySelector("#queue, .request").append(copy);
  htmx.process(copy);
  return copy;
}

/** It is read out once. How the time runs out is only to be seen. */
function noticeOf({ what, who }) {
  const seconds = undoSeconds();
  const notice = document.createElement("p");
  notice.className = "notice is-waiting";
  const words = document.createElement("span");
  words.textContent = `${DECIDING[what]} ${who} in ${seconds} second${seconds === 1 ? "" : "s"}.`;
  const button = Object.assign(document.createElement("button"), { type: "button", className: "undo", textContent: "Undo" });
  button.addEventListener("click", () => { if (waiting?.notice === notice) undo(); });
  const bar = document.createElement("span");
  bar.className = "bar";
  bar.animate([{ scale: "1 1" }, { scale: "0 1" }], { duration: 1000 * seconds, easing: `steps(${seconds})`, fill: "forwards" });
  notice.append(words, button, bar);
  return notice;
}

/** Send what waits, with the revision that was shown when it was decided. */
function send() {
  if (!waiting) return;
  if (!waiting.form.isConnected) return forget();
  const { form, timer, notice } = waiting;
  clearTimeout(timer);
  waiting = undefined;
  goFrom(notice);
  htmx.trigger(form, "submit");
}

function undo() {
  const { id, what, who, form, dialog } = forget();
  if (dialog) {
    dialog.showModal();
    form.querySelector("[type=submit]").focus();
  } else {
    placeOf(id)?.querySelector(`form.${what} button, form[method="post"] > .${what}`)?.focus();
    tell(`${UNDONE[what]}: ${who}. Nothing was sent.`);
  }
}

/** Have it never been decided. Returns what was waiting. */
function forget() {
  const forgotten = waiting;
  clearTimeout(waiting.timer);
  waiting = undefined;
  if (forgotten.notice.isConnected) forgotten.notice.remove(); // The page may have ended.
  settle(forgotten, false);
  return forgotten;
}

function settle(decision, isTaken) {
  unanswered.delete(decision.id);
  unmark(decision.id);
  // Not before all is told of it that listeners wait for.
  if (!decision.dialog) setTimeout(() => decision.form.remove());
  decision.answer(isTaken);
}

document.addEventListener("htmx:afterRequest", ({ detail }) => {
  const { requestConfig, target, xhr } = detail;
  const decision = [...unanswered.values()].find(({ form }) => form === requestConfig.elt);
  if (!decision) return;
  settle(decision, xhr.status >= 200 && xhr.status < 300);
  // What is wrong is said in the dialog, beside what was filled in.
  if (decision.form.isConnected && decision.form.contains(target) && !decision.dialog?.open) decision.dialog?.showModal();
});

// What comes after

/** Hold something back until what waits has been sent and answered. */
function comeAfter(event, act, { leaves }) {
  if (unanswered.size === 0) return;
  event.preventDefault();
  const answers = Promise.all([...unanswered.values()].map(({ answered }) => answered));
  send();
  const patience = new Promise((resolve) => { setTimeout(resolve, LONGEST_HOLD, []); });
  Promise.race([answers, patience]).then((taken) => {
    // Who leaves would not learn that a decision was refused.
    if (!leaves || taken.every(Boolean)) quietly(act());
  });
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href]");
  if (!link || event.defaultPrevented || link.getAttribute("href").startsWith("#")) return;
  if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || link.target) return send();
  comeAfter(event, () => location.assign(link.href), { leaves: true });
});

window.addEventListener("pagehide", () => { if (waiting) forget(); });

// The page may have ended, and what waits with it: live.js.
document.addEventListener("htmx:wsClose", () => setTimeout(tellIfGone));

function tellIfGone() {
  if (!waiting || waiting.form.isConnected) return;
  forget();
  const words = document.createElement("p");
  words.textContent = "What you had just decided, and could still undo, was not sent.";
  document.querySelector("#main [role=alert]")?.append(words);
}

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !waiting || event.isComposing) return;
  if (event.target.matches("input, textarea, select") || document.querySelector("dialog[open], .more[open]")) return;
  event.preventDefault(); // Or it would close the dialog that this opens again.
  undo();
});

// What the row, or the place of the buttons, says meanwhile

function mark({ id, what }) {
  const place = placeOf(id);
  if (!place || place.matches(".is-done, .is-waiting")) return;
  const words = document.createElement("strong");
  words.className = "pending";
  words.textContent = `${DECIDING[what]}…`;
  place.querySelector(".buttons").append(words);
  if (place.contains(document.activeElement)) focusOn(place);
  place.classList.add("is-waiting");
}

function unmark(id) {
  const place = placeOf(id);
  place?.classList.remove("is-waiting");
  place?.querySelector(".pending")?.remove();
}

// A frame may have replaced the row.
for (const change of ["htmx:wsAfterMessage", "htmx:afterSettle"]) {
  document.addEventListener(change, () => unanswered.forEach(mark));
}
