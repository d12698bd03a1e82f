// Keys that move between requests and press their buttons. None of them decides. They can be switched
// off, and do nothing while somebody types (WCAG 2.2, 2.1.4).
const STORED_AS = "keyboard-shortcuts";

// What a key presses: a button in the list, or that of a form. A denial is one that opens a dialog,
// and so is an approval in the list; where that is decided beside its note, the key leads to the note.
const COMMANDS = {
  c: "claim",
  r: "release",
  a: "approve",
  d: "deny",
  h: "hand-over",
  e: "escalate",
};
const selectorOf = (command) =>
  ["approve", "deny"].includes(command)
    ? `[method="get"].${command}, [method="get"] .${command}, form.${command}:has(textarea)`
    : `.${command}`;
const OTHERS = {
  j: () => move(1),
  k: () => move(-1),
  n: () => press(document.querySelector('form[action$="/next/"]')),
  u: undo,
  "/": () => document.getElementById("filter-show")?.focus(),
  "?": showKeys,
};
const REPEATED = ["j", "k"];

const keysDialog = document.getElementById("keys");
let areOn = stored() !== "off";

// Windows that keep nothing may refuse to.
function stored() {
  try {
    return localStorage.getItem(STORED_AS);
  } catch {
    return null;
  }
}

function switchKeys(on) {
  areOn = on;
  try {
    localStorage.setItem(STORED_AS, on ? "on" : "off");
  } catch {
    // It is so for as long as the page is open.
  }
}

document.addEventListener("keydown", (event) => {
  if (!areOn || !keysDialog.isConnected || event.defaultPrevented || isTyping(event) || document.querySelector("dialog[open]")) return;
  const { key, target } = event;
  if (event.repeat && !REPEATED.includes(key)) return;
  if (key === "Enter" && target.matches("#queue-rows > tr:not(.is-done)")) return target.querySelector("th a").click();
  if (!Object.hasOwn(COMMANDS, key) && !Object.hasOwn(OTHERS, key)) return;
  event.preventDefault(); // Some browsers search with a slash, or as one types.
  if (key in COMMANDS) pressIn(request(), selectorOf(COMMANDS[key]));
  else OTHERS[key]();
});

const isTyping = (event) =>
  event.ctrlKey || event.altKey || event.metaKey || event.isComposing ||
  event.target.matches("input, textarea, select, [contenteditable]");

/** The request that keys are about: the row with the focus, or that had it last, or all of the page. */
function request() {
  if (!shownRows()) return document.getElementById("request-page");
  const row = rowWithin(document.activeElement) ?? lastRow;
  return row?.isConnected && !row.hidden ? row : undefined;
}

function move(by) {
  if (!shownRows()) return;
  const rows = [...shownRows().rows];
  const from = rows.indexOf(request());
  const there = by > 0 ? rows.slice(from + 1) : rows.slice(0, from < 0 ? rows.length : from).reverse();
  const row = there.find((each) => each.checkVisibility() && !isDone(each));
  if (!row) return;
  focusOn(row);
  row.scrollIntoView({ block: "nearest" });
}

function pressIn(place, selector) {
  if (!place) return tell("Go to a request first: press j.");
  if (place.querySelector(".toggle")?.checkVisibility()) openRow(place); // on a narrow screen
  press(place.querySelector(selector), place);
}

/** Press a button, or that of a form. */
function press(element, place) {
  const button = element?.matches("form") ? element.querySelector("button") : element;
  if (!button || !isOffered(element, button)) return tell(whyNot(place));
  // Whoever presses a key is at no place that a row could come to: queue.js.
  button.closest("tr")?.removeAttribute("aria-disabled");
  const note = element.querySelector("textarea");
  if (note) note.focus();
  else button.click();
}

// What is folded up with others is offered all the same.
const isOffered = (element, button) =>
  !element.hidden && !button.disabled &&
  (button.closest("details:not([open])") ?? button).checkVisibility({ visibilityProperty: true });

function whyNot(place) {
  if (place?.matches(".is-done")) return "This request is decided.";
  if (place?.querySelector(".pending")) return "This request has just been decided. To undo that, press u.";
  const facts = place && factsOf(place);
  const { holder, isOwn } = facts ? claimOn(facts.dataset) : {};
  return holder && !isOwn ? `${holder} holds this request.` : "That cannot be done here at the moment.";
}

function undo() {
  const button = document.querySelector(".notice.is-waiting:not(.is-going) .undo");
  if (button) button.click();
  else tell("There is nothing to undo.");
}

function showKeys() {
  keysDialog.showModal();
}

if (keysDialog) {
  const button = document.getElementById("show-keys");
  const keysSwitch = document.getElementById("keys-switch");
  button.hidden = false;
  button.addEventListener("click", showKeys);
  keysSwitch.checked = areOn;
  keysSwitch.addEventListener("change", () => switchKeys(keysSwitch.checked));
}
