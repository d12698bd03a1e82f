// Which colleagues look at a request, on its page and on its row in the queue; and, on its page, says
// whether somebody only looks or is about to decide.
"use strict";

const MOST_NAMED = 3;
const TOLD_ONCE_IN = 1000; // milliseconds

const colleagues = new Map(); // by the request's id: who decides and who looks, without oneself
let isNews = false; // since it was last shown

const ownUsername = () => document.querySelector("[data-username]")?.dataset.username;
const colleaguesIn = (names) => names.split(" ").filter((name) => name !== "" && name !== ownUsername());

document.addEventListener("htmx:oobBeforeSwap", ({ detail }) => {
  if (!detail.target.matches("#presence")) return;
  detail.shouldSwap = false;
  takePresence(detail.fragment.querySelector("#presence") ?? detail.fragment);
});

/** Take over who is present: everywhere on the first frame of a connection, then where that has changed. */
function takePresence(list) {
  isNews = true;
  if (list.matches("[data-all]")) colleagues.clear();
  for (const { dataset } of list.querySelectorAll("[data-request]")) {
    const [deciding, viewing] = [colleaguesIn(dataset.deciding), colleaguesIn(dataset.viewing)];
    if (deciding.length + viewing.length > 0) colleagues.set(dataset.request, { deciding, viewing });
    else colleagues.delete(dataset.request);
  }
}

/** Rows and pages come without names, and get them here. */
function showPresence(place = document) {
  for (const line of place.querySelectorAll("[data-presence]")) {
    const words = wordsFor(line);
    if (line.textContent !== words) line.textContent = words;
    line.hidden = words === "";
  }
}

/** A row names its holder anyway, and whoever holds a request looks at it. */
function wordsFor(line) {
  const people = colleagues.get(line.dataset.presence);
  const row = line.closest("tr");
  if (!row || !people) return presenceInWords(people, false);
  const others = (names) => names.filter((name) => name !== row.dataset.claimedBy);
  return presenceInWords({ deciding: others(people.deciding), viewing: others(people.viewing) }, true);
}

function presenceInWords(people, isShort) {
  if (!people) return "";
  const { deciding, viewing } = people;
  const verbs = isShort
    ? { deciding: ["decides", "decide"], viewing: ["looks", "look"] }
    : { deciding: ["is deciding", "are deciding"], viewing: ["is looking", "are looking"] };
  const named = deciding.slice(0, MOST_NAMED);
  return [whoDoes(verbs.deciding, deciding, MOST_NAMED), whoDoes(verbs.viewing, viewing, MOST_NAMED - named.length)]
    .filter(Boolean)
    .join("; ");
}

/** At most so many names, and how many others. */
function whoDoes([verb, verbOfMany], names, most) {
  if (names.length === 0) return "";
  const subjects = names.slice(0, most);
  const others = names.length - subjects.length;
  if (others > 0) subjects.push(subjects.length === 0 ? `${others}` : `${others} other${others === 1 ? "" : "s"}`);
  const last = subjects.pop();
  const subject = subjects.length > 0 ? `${subjects.join(", ")} and ${last}` : last;
  return `${subject} ${names.length === 1 ? verb : verbOfMany}`;
}

document.addEventListener("htmx:wsAfterMessage", () => {
  if (isNews) showPresence();
  isNews = false;
});
document.addEventListener("taken", ({ target }) => showPresence(target));
for (const event of ["htmx:afterRequest", "htmx:afterSettle"]) {
  document.addEventListener(event, () => showPresence());
}

// What is done here

let toldMode; // to the server, on this connection
let toldAt = -Infinity;
let tellingTimer;

const isTypedIn = (field) => field.checkVisibility() && field.value !== field.defaultValue;

function modeHere() {
  const dialog = document.getElementById("desk-dialog");
  const fields = [...document.querySelectorAll(".decide :is(textarea, input:not([type=hidden]))")];
  return dialog?.open || fields.some(isTypedIn) ? "deciding" : "viewing";
}

function tellMode() {
  clearTimeout(tellingTimer);
  if (!document.getElementById("request-page") || socket?.readyState !== WebSocket.OPEN || modeHere() === toldMode) return;
  const wait = toldAt + TOLD_ONCE_IN - performance.now();
  if (wait > 0) {
    tellingTimer = setTimeout(tellMode, wait);
    return;
  }
  toldAt = performance.now();
  toldMode = modeHere();
  socket.send(toldMode);
}

document.addEventListener("htmx:wsOpen", () => {
  toldMode = "viewing"; // as each connection begins
  tellMode();
});
for (const event of ["input", "reset", "htmx:afterSettle", "htmx:wsAfterMessage"]) {
  // After what the event changes.
  document.addEventListener(event, () => setTimeout(tellMode));
}
const dialogOfDesk = document.getElementById("desk-dialog");
if (dialogOfDesk) new MutationObserver(tellMode).observe(dialogOfDesk, { attributeFilter: ["open"] });
