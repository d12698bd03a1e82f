// The underwriters' queue. Nothing moves under a pointer that is about to click: what is decided
// stays where it is, as done, until the pointer has left the list or has rested for a moment. A row
// that did move, or came, takes no clicks at first; nor does the second click of two take effect on
// what the first one uncovered.
"use strict";

// In milliseconds.
const TAKES_NO_CLICKS_FOR = 500;
const SECOND_CLICK_WITHIN = 1000;
const STILL_OUTSIDE_FOR = 1000;
const STILL_INSIDE_FOR = 4000;
const OUTCOME_SHOWN_FOR = 30000;
const FADES_FOR = 600;
const MOST_NOTICES = 5;
const SAME_PLACE = 10; // pixels

// When somebody goes back, the browser may show a page as it was left. Names are not kept for that.
window.addEventListener("pagehide", (event) => {
  if (event.persisted && document.getElementById("queue")) document.getElementById("main").remove();
});
window.addEventListener("pageshow", (event) => {
  if (event.persisted && !document.getElementById("main")) location.reload();
});

const denyDialog = () => document.getElementById("deny-dialog");
const notices = () => document.getElementById("notices");
const shownRows = () => document.getElementById("queue-rows");
const heldRows = () => document.getElementById("queue-held");
const rowWithin = (element) => element.closest("#queue-rows > tr");
const isDone = (row) => row.classList.contains("is-done");
const now = () => performance.now();

let order = []; // the ids of all rows, as the server has last sent them
const decidedHere = new Set(); // ids: for a while the server may not know yet
let lastTouched = -Infinity; // when somebody last did something in the list
let lastRow; // in which the focus was
let arranging; // a timer

// The list

/** Take over a list from the server, without moving a row. */
function takeList(list) {
  const rows = [...list.querySelectorAll("#queue-rows > tr")].filter((row) => !decidedHere.has(row.id));
  order = rows.map((row) => row.id);
  const ids = new Set(order);
  for (const row of document.querySelectorAll("#queue tbody > tr")) if (!ids.has(row.id)) finish(row);
  rows.forEach(take);
  const [summary, shown] = [list.querySelector("#queue-summary"), document.getElementById("queue-summary")];
  if (!summary.isEqualNode(shown)) shown.replaceWith(summary);
  reorder();
}

function take(row) {
  const shown = document.getElementById(row.id);
  if (!shown) heldRows().append(row);
  else if (isDone(shown) || said(shown) !== said(row)) replace(shown, row);
  else return;
  htmx.process(row);
}

/** What a row says but for the waiting time, which is written anew all the time. */
function said(row) {
  const texts = [...row.cells].slice(0, 4).map((cell) => cell.textContent);
  return [...texts, row.querySelector("time").dateTime, row.querySelector("[name=shown_revision]").value].join("\n");
}

function replace(shown, row) {
  const focused = [...shown.querySelectorAll("button")].indexOf(document.activeElement);
  const hadFocus = shown.contains(document.activeElement);
  shown.replaceWith(row);
  if (focused >= 0) row.querySelectorAll("button")[focused].focus({ preventScroll: true });
  else if (hadFocus) focusOn(row);
}

/** Leave a decided row where it is, without its buttons. */
function finish(row, outcome) {
  if (heldRows().contains(row)) return row.remove();
  let words = row.querySelector(".outcome");
  if (!words) {
    words = document.createElement("strong");
    words.className = "outcome";
    row.querySelector(".buttons").append(words);
    if (row.contains(document.activeElement)) focusOn(row);
    row.classList.add("is-done");
  }
  words.textContent = outcome ?? (words.textContent || "Decided");
}

/** The order has changed. Rows at the end come at once, others wait. */
function reorder() {
  appendLastRows(shownRows());
  if (!isInOrder(shownRows())) lastTouched = now();
  arrange();
}

/** Put all rows in order, if they may move now. */
function arrange() {
  clearTimeout(arranging);
  const body = shownRows();
  if (!body) return;
  if (!isInOrder(body)) {
    const wait = stillFor(body) - (now() - lastTouched);
    if (wait > 0) arranging = setTimeout(arrange, wait);
    else putInOrder(body);
  }
  noteArrivals();
}

function appendLastRows(body) {
  const held = (id) => heldRows().contains(document.getElementById(id));
  let first = order.length;
  while (first > 0 && held(order[first - 1])) first -= 1;
  for (const id of order.slice(first)) body.append(document.getElementById(id));
}

const isInOrder = (body) =>
  body.rows.length === order.length && order.every((id, index) => body.rows[index].id === id);

// Whoever decides with the keyboard has a moment to read what has become of a row.
const stillFor = (body) => (body.matches(":hover, :has(:focus-visible)") ? STILL_INSIDE_FOR : STILL_OUTSIDE_FOR);

function putInOrder(body) {
  for (const row of body.querySelectorAll(".is-done")) removeRow(row);
  const focused = document.activeElement;
  let next = body.firstElementChild;
  for (const id of order) {
    const row = document.getElementById(id);
    if (row === next) next = next.nextElementSibling;
    else if (row) body.insertBefore(row, next);
  }
  if (document.activeElement !== focused) focused.focus({ preventScroll: true });
}

/** Remove a row. The focus goes to the next one, from where *Tab* leads to the same button as before. */
function removeRow(row) {
  const neighbour = row.nextElementSibling ?? row.previousElementSibling;
  if (lastRow === row) lastRow = neighbour;
  if (row.contains(document.activeElement)) focusOn(neighbour);
  row.remove();
}

function focusOn(row) {
  const element = row?.isConnected ? row : document.getElementById("queue");
  if (!element) return;
  element.tabIndex = -1;
  element.focus({ preventScroll: true });
}

const focusOnLastRow = () => {
  if (!document.activeElement?.closest("#queue")) focusOn(lastRow);
};

// What comes from the server

document.addEventListener("htmx:oobBeforeSwap", ({ detail }) => {
  const { target, fragment } = detail;
  if (!target.closest("#queue") || target.matches("#queue-summary")) return;
  detail.shouldSwap = false;
  if (target.matches("#queue")) takeList(fragment);
  else if (target.matches("tr")) dropRow(target);
  else takeNewRows([...fragment.querySelectorAll("tr")]);
});

function dropRow(row) {
  order = order.filter((id) => id !== row.id);
  finish(row);
  reorder();
}

function takeNewRows(rows) {
  const fresh = rows.filter((row) => !decidedHere.has(row.id));
  order.push(...fresh.map((row) => row.id).filter((id) => !order.includes(id)));
  fresh.forEach(take);
  reorder();
}

document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  const { target, xhr, shouldSwap, requestConfig } = detail;
  // What is outside of an open dialog is not read out.
  if (target.matches("#notices")) denyDialog()?.close();
  // Of two forms that were asked for, the one in use stays.
  if (target.matches("#deny-dialog-content") && requestConfig.verb === "get" && denyDialog().open) detail.shouldSwap = false;
  if (!target.matches("#queue") || !shouldSwap || xhr.status !== 200) return;
  detail.shouldSwap = false;
  const answer = document.createElement("template");
  answer.innerHTML = xhr.responseText;
  takeList(answer.content);
});

document.addEventListener("decided", ({ detail }) => {
  denyDialog()?.close();
  const id = `request-${detail.id}`;
  decidedHere.add(id);
  order = order.filter((each) => each !== id);
  const row = document.getElementById(id);
  if (row) finish(row, detail.outcome);
  reorder();
});

// A decision was refused: the page may be outdated.
document.addEventListener("outdated", async () => {
  if (!document.getElementById("queue")) return;
  await htmx.ajax("GET", location.pathname, { target: "#queue", swap: "outerHTML" });
  // What was pushed meanwhile may be newer than what was fetched.
  liveSocket?.send("start over");
});

for (const failure of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(failure, ({ detail }) => {
    const words = document.getElementById("no-answer");
    if (words && detail.elt.matches("body, #queue *")) notices().prepend(words.content.cloneNode(true));
  });
}

// Clicks

const places = new WeakMap(); // where each row was last seen, in pixels from the top of the page

/** Rows that have come to where they are just now take no clicks. */
function noteArrivals() {
  const rows = [...(shownRows()?.rows ?? [])];
  const arrived = rows.filter((row) => {
    const place = row.getBoundingClientRect().top + window.scrollY;
    const before = places.get(row);
    places.set(row, place);
    return before === undefined || Math.abs(before - place) >= 1;
  });
  takeNoClicks(arrived);
}

const takesClicksAgain = new WeakMap(); // timers

function takeNoClicks(rows) {
  for (const row of rows) {
    row.setAttribute("aria-disabled", "true");
    clearTimeout(takesClicksAgain.get(row));
    const again = () => row.removeAttribute("aria-disabled");
    takesClicksAgain.set(row, setTimeout(again, TAKES_NO_CLICKS_FOR));
  }
}

let lastClick; // when, where, and on what

document.addEventListener("click", (event) => {
  const row = rowWithin(event.target);
  const on = row?.id ?? event.target; // by its id, since a row may have been replaced
  const isSecond = isSecondClick(event);
  if (row && event.target.closest(".decision") && !isDone(row)) {
    if (row.ariaDisabled === "true" && !isByKey(event)) refuse(event, !isSecond);
    else if (isSecond && lastClick.on !== on) refuse(event, false);
  }
  lastClick = { at: event.timeStamp, x: event.clientX, y: event.clientY, on: isSecond ? lastClick.on : on };
  lastRow = row ?? lastRow;
}, true);

// Whoever presses a key is at no place that a row could come to.
const isByKey = (event) => event.isTrusted && event.detail === 0;

// Not by `event.detail`, which counts only clicks within the time that the system is set to.
function isSecondClick(event) {
  if (!lastClick || event.detail === 0) return false;
  const distance = Math.hypot(event.clientX - lastClick.x, event.clientY - lastClick.y);
  return distance < SAME_PLACE && event.timeStamp - lastClick.at < SECOND_CLICK_WITHIN;
}

function refuse(event, saysSo) {
  event.preventDefault();
  event.stopPropagation();
  if (saysSo) tell("Your click was not taken, since this row had just moved. Please click again.");
}

// A key that is held down decides once.
document.addEventListener("keydown", (event) => {
  if (!event.repeat || !["Enter", " "].includes(event.key)) return;
  if (event.target.matches("#queue *, #deny-dialog :is(button, select)")) event.preventDefault();
}, true);

// The dialog

document.addEventListener("htmx:afterSwap", ({ detail }) => {
  if (!detail.target.matches("#deny-dialog-content")) return;
  const dialog = denyDialog();
  if (!dialog) return;
  if (!dialog.open) dialog.showModal();
  const field = dialog.querySelector("[aria-invalid=true]");
  if (field || !dialog.contains(document.activeElement)) (field ?? dialog.querySelector("select")).focus();
  // They have just come to under the pointer.
  for (const button of dialog.querySelectorAll(".buttons button")) {
    button.disabled = true;
    setTimeout(() => { button.disabled = false; }, TAKES_NO_CLICKS_FOR);
  }
});

const isSending = (dialog) => dialog.querySelector("form.htmx-request") !== null;

document.addEventListener("click", (event) => {
  const dialog = denyDialog();
  if (event.target.closest("[data-close-dialog]") && !isSending(dialog)) dialog.close();
});

// Outcomes

function tell(words) {
  if ([...notices().children].some((notice) => notice.firstChild.textContent === words)) return;
  const notice = document.createElement("p");
  notice.className = "notice";
  notice.textContent = words;
  notices().prepend(notice);
}

function prepare(notice) {
  const dismiss = document.createElement("button");
  dismiss.type = "button";
  dismiss.className = "dismiss";
  dismiss.ariaLabel = "Dismiss";
  dismiss.textContent = "×";
  dismiss.addEventListener("click", () => goFrom(notice));
  notice.append(dismiss);
  // An error stays until it is dismissed.
  if (!notice.matches(".is-error")) setTimeout(() => goWhenUnused(notice), OUTCOME_SHOWN_FOR);
}

function goWhenUnused(notice) {
  const isInUse = notices()?.matches(":hover, :focus-within");
  if (isInUse) setTimeout(() => goWhenUnused(notice), STILL_INSIDE_FOR);
  else goFrom(notice);
}

/** Fade, still taking clicks: none reaches a row that a notice has only just uncovered. */
function goFrom(notice) {
  notice.classList.add("is-going");
  setTimeout(() => {
    const hadFocus = notice.contains(document.activeElement);
    const other = (notice.nextElementSibling ?? notice.previousElementSibling)?.querySelector(".dismiss");
    notice.remove();
    if (hadFocus && other) other.focus({ preventScroll: true });
    else if (hadFocus) focusOnLastRow();
  }, FADES_FOR);
}

function prepareNotices() {
  const all = [...notices().children];
  for (const notice of all) if (!notice.querySelector(".dismiss")) prepare(notice);
  for (const notice of all.slice(MOST_NOTICES)) notice.remove();
}

// The start

function startQueue(queue) {
  order = [...shownRows().rows].map((row) => row.id);
  for (const type of ["pointermove", "pointerdown", "keydown", "focusin"]) {
    queue.addEventListener(type, () => { lastTouched = now(); });
  }
  queue.addEventListener("pointerleave", arrange);
  queue.addEventListener("focusin", (event) => { lastRow = rowWithin(event.target) ?? lastRow; });
  denyDialog().addEventListener("close", focusOnLastRow);
  // Its outcome would be missed.
  denyDialog().addEventListener("cancel", (event) => { if (isSending(denyDialog())) event.preventDefault(); });
  notices().classList.add("is-floating");
  new MutationObserver(prepareNotices).observe(notices(), { childList: true });
  prepareNotices();
  // Whatever else on the page grows or shrinks moves rows, too.
  new ResizeObserver(noteArrivals).observe(document.getElementById("main"));
  noteArrivals();
}

if (document.getElementById("queue")) startQueue(document.getElementById("queue"));
