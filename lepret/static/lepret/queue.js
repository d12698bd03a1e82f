// The underwriters' queue, and what the page of one request has in common with it: decisions, the
// dialog and the notices. In the list, nothing moves under a pointer that is about to click: what is decided
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
const UNFOLDS_WITHIN = 100;
const MOST_NOTICES = 5;
const LONG = 100; // rows
const SAME_PLACE = 10; // pixels

// When somebody goes back, the browser may show a page as it was left. Names are not kept for that.
window.addEventListener("pagehide", (event) => {
  if (event.persisted && document.getElementById("queue")) document.getElementById("main").remove();
});
window.addEventListener("pageshow", (event) => {
  if (event.persisted && !document.getElementById("main")) location.reload();
});

const deskDialog = () => document.getElementById("desk-dialog");
const notices = () => document.getElementById("notices");
const shownRows = () => document.getElementById("queue-rows");
const heldRows = () => document.getElementById("queue-held");
const rowWithin = (element) => element.closest("#queue-rows > tr");
// A long list comes in parts.
const hasAllRows = () => !document.getElementById("queue-rest");
const isDone = (row) => row.classList.contains("is-done");
const now = () => performance.now();

let order = []; // the ids of all rows, in the order in which they are shown
const decidedHere = new Set(); // ids: for a while the server may not know yet
let lastTouched = -Infinity; // when somebody last did something in the list
let lastRow; // in which the focus was
let lastUnfolded = -Infinity; // when the browser last began to show a row that was out of view
let arranging; // a timer

// What somebody wants to see, and in which order: filters.js says it, where it is there.
const wishes = { sorted: (ids) => ids, wanted: () => () => true };

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
  document.getElementById("queue-rest")?.remove();
  const [table, shownTable] = [list, document].map((each) => each.querySelector("table.queue"));
  shownTable.dataset.undoSeconds = table.dataset.undoSeconds;
  reorder();
}

function take(row) {
  adapt(row);
  const shown = document.getElementById(row.id);
  if (!shown) heldRows().append(row);
  else if (isDone(shown) || said(shown) !== said(row)) replace(shown, row);
  else return;
  row.dispatchEvent(new Event("taken", { bubbles: true }));
}

/** What a row says but for what scripts write into it all the time. */
function said(row) {
  const facts = [...row.querySelectorAll(".decision > :not(.buttons)")].map(wordsOf);
  const revision = row.querySelector("[name=shown_revision]").value;
  return [JSON.stringify(row.dataset), wordsOf(row.cells[0]), revision, ...facts].join("\n");
}

const PLACES_OF_FOCUS = "a, button, summary"; // in a row, which has them all in the same order

function replace(shown, row) {
  const focused = [...shown.querySelectorAll(PLACES_OF_FOCUS)].indexOf(document.activeElement);
  const hadFocus = shown.contains(document.activeElement);
  row.querySelector(".more").open = shown.querySelector(".more").open;
  if (shown.classList.contains("is-open")) openRow(row);
  row.querySelector(".presence").replaceWith(shown.querySelector(".presence"));
  row.hidden = shown.hidden; // until rows may move
  shown.replaceWith(row);
  places.set(row, places.get(shown));
  replaced.push(row);
  takeNoClicks([row]);
  if (focused >= 0) row.querySelectorAll(PLACES_OF_FOCUS)[focused].focus({ preventScroll: true });
  // It may have had another focus, or the button may be hidden now.
  if (hadFocus && !row.contains(document.activeElement)) focusOn(row);
}

/** Leave a decided row where it is, without its buttons. */
function finish(row, outcome) {
  if (heldRows().contains(row) || row.hidden) return row.remove();
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

let isSettling = false;
let isNewOrder = false;

/** Go through the list once, when all of a message is there. */
function settle({ withNewOrder }) {
  isNewOrder ||= withNewOrder;
  if (isSettling) return;
  isSettling = true;
  queueMicrotask(() => {
    isSettling = false;
    if (isNewOrder) reorder();
    else arrange();
    isNewOrder = false;
  });
}

/** The order has changed, or what is wanted. Rows at the end come at once, others wait. */
function reorder() {
  order = wishes.sorted(order);
  appendLastRows(shownRows());
  // More that is to move does not put off what waits already: where many decide, it would for ever.
  if (!arranging && !isArranged(shownRows())) lastTouched = now();
  arrange();
}

/** Put all rows in order, if they may move now. */
function arrange() {
  clearTimeout(arranging);
  arranging = undefined;
  const body = shownRows();
  if (!body) return;
  if (!isArranged(body)) {
    const wait = stillFor(body) - (now() - lastTouched);
    if (wait > 0) arranging = setTimeout(arrange, wait);
    else putInOrder(body);
  }
  // Where one has grown and another shrunk, the page is as high as before.
  if (replaced.splice(0).some(hasOtherHeight)) noteArrivals();
  document.dispatchEvent(new Event("arranged"));
}

/** Somebody wants something else: that is done at once. */
function rearrange() {
  lastTouched = -Infinity;
  order = wishes.sorted(order);
  arrange();
}

function appendLastRows(body) {
  const held = (id) => heldRows().contains(document.getElementById(id));
  const isWanted = wishes.wanted();
  let first = order.length;
  while (first > 0 && held(order[first - 1])) first -= 1;
  for (const id of order.slice(first)) {
    const row = document.getElementById(id);
    row.hidden = !isWanted(row);
    body.append(row);
  }
  if (first < order.length) noteMoves(body);
}

function isArranged(body, ids = order) {
  const rows = [...body.rows];
  return rows.length === ids.length && rows.every((row, index) => row.id === ids[index]) && areAsWanted(rows);
}

function areAsWanted(rows) {
  const isWanted = wishes.wanted();
  return rows.every((row) => row.hidden !== isWanted(row));
}

// Whoever decides with the keyboard has a moment to read what has become of a row.
const stillFor = (body) => (body.matches(":hover") || isUsedByKey(body) ? STILL_INSIDE_FOR : STILL_OUTSIDE_FOR);
const isUsedByKey = (body) => body.contains(document.activeElement) && document.activeElement.matches(":focus-visible");

function putInOrder(body) {
  for (const row of body.querySelectorAll(".is-done")) removeRow(row);
  const focused = document.activeElement;
  let next = body.firstElementChild;
  for (const id of order) {
    const row = document.getElementById(id);
    if (row === next) next = next.nextElementSibling;
    else if (row) body.insertBefore(row, next);
  }
  const isWanted = wishes.wanted();
  for (const row of body.rows) row.hidden = !isWanted(row);
  if (focused.closest("tr[hidden]")) focusOn(shownNeighbour(focused.closest("tr")));
  else if (document.activeElement !== focused) focused.focus({ preventScroll: true });
  noteMoves(body);
}

/** Remove a row. The focus goes to the next one, from where *Tab* leads to what is in it. */
function removeRow(row) {
  const neighbour = shownNeighbour(row);
  if (lastRow === row) lastRow = neighbour;
  if (row.contains(document.activeElement)) focusOn(neighbour);
  row.remove();
}

/** The next row that is shown; the one before where there is none. */
function shownNeighbour(row) {
  for (const direction of ["nextElementSibling", "previousElementSibling"]) {
    let other = row[direction];
    while (other?.hidden) other = other[direction];
    if (other) return other;
  }
  return null;
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
  if (target.matches("#queue-rest")) settle({ withNewOrder: false });
  if (!target.closest("#queue") || target.matches("#queue-summary")) return;
  detail.shouldSwap = false;
  if (target.matches("#queue")) return takeList(fragment);
  const row = fragment.querySelector("tr") ?? fragment; // without cells, it is to be removed
  if (!row.cells.length) dropRow(target);
  else if (!decidedHere.has(row.id)) takeRow(row);
});

function dropRow(row) {
  order = order.filter((id) => id !== row.id);
  finish(row);
  settle({ withNewOrder: true });
}

function takeRow(row) {
  const isNew = !order.includes(row.id);
  if (isNew) order.push(row.id);
  take(row);
  settle({ withNewOrder: isNew || !areAsWanted([document.getElementById(row.id)]) });
}

document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  const { target, xhr, shouldSwap, requestConfig } = detail;
  // What is outside of an open dialog is not read out. It stays for what is said of other requests.
  if (target.matches("#notices") && requestConfig.elt.closest("#desk-dialog")) deskDialog().close();
  // Of two forms that were asked for, the one in use stays.
  if (target.matches("#desk-dialog-content") && requestConfig.verb === "get" && deskDialog().open) detail.shouldSwap = false;
  if (!target.matches("#queue") || !shouldSwap || xhr.status !== 200) return;
  detail.shouldSwap = false;
  const answer = document.createElement("template");
  answer.innerHTML = xhr.responseText;
  takeList(answer.content);
});

document.addEventListener("decided", ({ detail }) => {
  if (deskDialog()?.querySelector(`[action*="${detail.id}"]`)) deskDialog().close();
  if (!shownRows()) return;
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
  await quietly(htmx.ajax("GET", location.pathname, { target: "#queue", swap: "outerHTML" }));
  // What was pushed meanwhile may be newer than what was fetched.
  liveSocket?.send("start over");
});

for (const failure of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(failure, ({ detail }) => {
    const words = document.getElementById("no-answer");
    if (words && detail.elt.matches("body, #queue *, .request *")) notices().prepend(words.content.cloneNode(true));
  });
}

// Clicks

// What buttons in rows ask for. The row may be gone when an answer comes.
document.addEventListener("submit", (event) => {
  const { target: form, submitter: button } = event;
  if (!button?.matches("#queue-rows button")) return;
  event.preventDefault();
  const place = form.method === "get" ? { target: "#desk-dialog-content", swap: "innerHTML" } : { target: "#notices", swap: "afterbegin" };
  const values = button.name ? { [button.name]: button.value } : {};
  quietly(htmx.ajax(form.method, button.getAttribute("formaction"), { source: button, event, values, ...place }));
});

const places = new WeakMap(); // where each row was last seen, in pixels from the top of the page, and how high
const replaced = []; // rows that were not measured yet

/** Rows were moved, added or removed. */
function noteMoves(body) {
  // First, since a long list is laid out only in part.
  body.parentElement.classList.toggle("is-long", body.rows.length > LONG);
  noteArrivals();
}

/** Rows that have come to where they are just now take no clicks, where they could soon be clicked. */
function noteArrivals() {
  takeNoClicks(rowsElsewhere().filter(isNearView));
}

/** Whether a row that was just measured is in view, or less than a screen above or below. */
function isNearView(row) {
  const { top, height } = places.get(row);
  const fromView = top - window.scrollY;
  return fromView + height > -innerHeight && fromView < 2 * innerHeight;
}

/** The rows that are not where they were when this was last asked. */
function rowsElsewhere() {
  return [...(shownRows()?.rows ?? [])].filter((row) => {
    const place = placeOf(row);
    const before = places.get(row);
    places.set(row, place);
    return place && !(before && isAsFar(before.top, place.top));
  });
}

function placeOf(row) {
  if (row.hidden) return undefined;
  const { top, height } = row.getBoundingClientRect();
  return { top: top + window.scrollY, height };
}

const isAsFar = (one, other) => Math.abs(one - other) < 1;
const hasOtherHeight = (row) => !isAsFar(places.get(row)?.height ?? 0, placeOf(row)?.height ?? 0);

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
  if (saysSo) tell("Your click was not taken, since this row had just moved or changed. Please click again.");
}

// A row on a narrow screen, and its menu

const isNowOpen = (row) => row.classList.contains("is-open");

function openRow(row, isOpen = true) {
  row.classList.toggle("is-open", isOpen);
  row.querySelector(".toggle").ariaExpanded = String(isOpen);
}

document.addEventListener("click", ({ target }) => {
  const row = target.closest(".toggle") && rowWithin(target);
  if (row) openRow(row, !isNowOpen(row));
  closeMenus((menu) => !menu.contains(target) || target.closest("button"));
});

document.addEventListener("keydown", ({ key, target }) => {
  const menu = key === "Escape" && target.closest?.(".more[open]");
  if (!menu) return;
  menu.open = false;
  menu.querySelector("summary").focus();
});

function closeMenus(where) {
  for (const menu of document.querySelectorAll(".more[open]")) if (where(menu)) menu.open = false;
}

// A key that is held down decides once.
document.addEventListener("keydown", (event) => {
  if (!event.repeat || !["Enter", " "].includes(event.key)) return;
  if (event.target.matches("#queue *, .request form button, #desk-dialog :is(button, [type=checkbox])")) event.preventDefault();
}, true);

// The dialog

document.addEventListener("htmx:afterSwap", ({ detail }) => {
  if (!detail.target.matches("#desk-dialog-content")) return;
  const dialog = deskDialog();
  if (!dialog) return;
  if (!dialog.open) dialog.showModal();
  const field = dialog.querySelector("[aria-invalid=true]");
  // Where it scrolls, the dialog itself has got the focus.
  if (field || !document.activeElement.matches("#desk-dialog form *")) (field ?? firstField(dialog)).focus();
  // They have just come to under the pointer.
  for (const button of dialog.querySelectorAll(".buttons button")) {
    button.disabled = true;
    setTimeout(() => { button.disabled = false; }, TAKES_NO_CLICKS_FOR);
  }
});

const firstField = (dialog) => dialog.querySelector(":is(input:not([type=hidden]), select, textarea)");
const isSending = (dialog) => dialog.querySelector("form.htmx-request") !== null;

document.addEventListener("click", (event) => {
  const dialog = deskDialog();
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
  const all = [...notices().children].filter((notice) => !notice.matches(".is-waiting")); // undo.js
  for (const notice of all) if (!notice.querySelector(".dismiss")) prepare(notice);
  for (const notice of all.slice(MOST_NOTICES)) notice.remove();
}

// The start

function startDialog(dialog) {
  // Its outcome would be missed.
  dialog.addEventListener("cancel", (event) => { if (isSending(dialog)) event.preventDefault(); });
}

function startNotices() {
  notices().classList.add("is-floating");
  document.getElementById("main").classList.add("has-notices");
  new MutationObserver(prepareNotices).observe(notices(), { childList: true });
  prepareNotices();
}

function startQueue(queue) {
  order = [...shownRows().rows].map((row) => row.id);
  for (const type of ["pointermove", "pointerdown", "keydown", "focusin"]) {
    queue.addEventListener(type, () => { lastTouched = now(); });
  }
  queue.addEventListener("pointerleave", arrange);
  queue.addEventListener("focusin", (event) => { lastRow = rowWithin(event.target) ?? lastRow; });
  deskDialog().addEventListener("close", focusOnLastRow);
  // A row gets its real height when it is about to come into view, where those below seem to stay.
  queue.addEventListener("contentvisibilityautostatechange", () => { lastUnfolded = now(); }, true);
  // Whatever else on the page grows or shrinks moves rows, too.
  new ResizeObserver(() => {
    if (now() - lastUnfolded < UNFOLDS_WITHIN) rowsElsewhere();
    else noteArrivals();
  }).observe(document.getElementById("main"));
  noteMoves(shownRows());
}

if (deskDialog()) startDialog(deskDialog());
if (notices()) startNotices();
if (document.getElementById("queue")) startQueue(document.getElementById("queue"));
