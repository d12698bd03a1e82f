// Who works on a request. What the server sends is the same for everybody: here rows, and the page of
// one request, are adapted to whoever looks at them, and to the time. `readmodels/pages/claims.py` does
// the same for pages without scripts.
"use strict";

const TICK = 1000; // milliseconds
const USED_WITHIN = 5 * 60 * 1000;
const MOST_OFFERED = 50;

const viewer = () => document.querySelector("[data-username]").dataset;
const factsOf = (request) => (request.matches("[data-claimed-by]") ? request : request.querySelector("[data-claimed-by]"));
const requestOf = (facts) => facts.closest(".request") ?? facts;

/** Adapt a row or a page, whether it is shown already or not. */
function adapt(request) {
  const facts = factsOf(request);
  const holder = request.querySelector(".holder");
  if (!facts || !holder) return; // It was decided before the page was opened.
  const claim = claimOn(facts.dataset);
  for (const [command, may] of Object.entries(claim.may)) {
    for (const each of request.querySelectorAll(`.${command}`)) each.hidden = !may;
  }
  for (const each of request.querySelectorAll("p[data-for]")) each.hidden = each.dataset.for !== claim.vote;
  facts.classList.toggle("is-held", claim.holder !== "");
  facts.classList.toggle("is-own", claim.isOwn);
  holder.hidden = !claim.holder;
  if (claim.holder) showHolder(holder, claim, facts.dataset.claimedUntil);
}

function claimOn({ claimedBy, claimedUntil, escalated, for: approvers, against }) {
  const { username, isLead } = viewer();
  const isLive = Date.parse(claimedUntil) > serverNow();
  const holder = isLive ? claimedBy : "";
  const isOwn = holder === username;
  const isFree = isOwn || !holder;
  const mayDecide = isFree && (isLead !== undefined || escalated === undefined);
  const has = (names) => names.split(" ").includes(username);
  const vote = has(approvers) ? "approve" : has(against) ? "deny" : "";
  const may = {
    claim: mayDecide && !isOwn,
    release: isOwn,
    approve: mayDecide && vote !== "approve",
    deny: mayDecide,
    "hand-over": isOwn || isLead !== undefined,
    escalate: isFree && escalated === undefined,
  };
  may.more = may.approve || may["hand-over"] || may.escalate;
  return { holder, isOwn, vote, may };
}

function showHolder(holder, { holder: name, isOwn }, until) {
  write(holder.querySelector("strong"), isOwn ? "You" : name);
  write(holder.querySelector(".left"), leftInWords(Date.parse(until) - serverNow()));
}

/** As `left_in_words` in `readmodels/pages/clocks.py`. */
function leftInWords(span) {
  const minutes = Math.ceil(span / 60000);
  if (minutes <= 1) return "1 min left";
  if (minutes < 60) return `${minutes} min left`;
  return minutes % 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min left` : `${minutes / 60} h left`;
}

// The time

/** Claims run out without a word from the server. */
function countDown() {
  for (const facts of document.querySelectorAll(".is-held")) adaptShown(requestOf(facts));
  showFigures();
}

function adaptShown(request) {
  const before = buttonsShown(request);
  const hadFocus = request.contains(document.activeElement);
  adapt(request);
  if (buttonsShown(request) === before || !request.matches("tr")) return;
  takeNoClicks([request]);
  if (hadFocus && !document.activeElement.checkVisibility()) focusOn(request);
}

const buttonsShown = (request) => [...request.querySelectorAll("button")].map((button) => button.hidden).join();

// The answer to a claim comes before its frame.
for (const event of ["claimed", "released"]) {
  document.addEventListener(event, ({ detail: { id, by, until } }) => {
    const facts = document.getElementById(`request-${id}`) ?? document.querySelector("#request[data-claimed-by]");
    if (!facts) return;
    Object.assign(facts.dataset, { claimedBy: by, claimedUntil: until });
    adaptShown(requestOf(facts));
  });
}

// The next

/** Offer what the list shows now, in its order: first what is most urgent to whoever has ordered it. */
document.addEventListener("submit", ({ target }) => {
  const rows = document.getElementById("queue-rows");
  if (!target.matches("#next") || !rows) return;
  const free = [...rows.querySelectorAll("tr:not([hidden], .is-done)")].filter(isForTheTaking);
  for (const field of target.querySelectorAll("[name=ids]")) field.remove();
  target.append(...free.slice(0, MOST_OFFERED).map(fieldWithId));
}, true);

function isForTheTaking(row) {
  const { holder, vote, may } = claimOn(row.dataset);
  return may.claim && !holder && !vote;
}

function fieldWithId(row) {
  const field = document.createElement("input");
  Object.assign(field, { type: "hidden", name: "ids", value: row.id.replace("request-", "") });
  return field;
}

// The figures

function showFigures() {
  const figures = document.getElementById("desk-figures");
  if (!figures) return;
  const rows = document.getElementById("queue-rows");
  const { decidedToday } = document.getElementById("queue-summary").dataset;
  const show = (name, count) => write(figures.querySelector(`[data-figure="${name}"]`), String(count));
  show("decided", decidedToday);
  if (!hasAllRows()) return;
  show("overdue", rows.querySelectorAll("tr:not(.is-done) > .due > .is-over").length);
  show("mine", rows.querySelectorAll("tr.is-own:not(.is-done)").length);
}

document.addEventListener("decided", () => {
  const own = document.querySelector("#desk-figures [data-figure=own]");
  if (own) own.textContent = Number(own.textContent) + 1;
});

// The page of one request

let lastUsed = 0; // by `performance.now()`
let isRenewing = false;
let hadClaim = false;
let letGo = false; // by this page

for (const type of ["pointermove", "pointerdown", "keydown", "scroll"]) {
  document.addEventListener(type, () => { lastUsed = performance.now(); }, { passive: true });
}

document.addEventListener("htmx:beforeRequest", ({ detail }) => {
  if (detail.elt.matches?.("form:not(#add-note)") && detail.requestConfig.verb === "post") letGo = true;
});

function holdOn() {
  const request = document.getElementById("request-page");
  const facts = request && factsOf(request);
  if (!facts) return;
  const { isOwn } = claimOn(facts.dataset);
  if (hadClaim && !isOwn && !letGo && facts.matches(".is-under_review")) {
    tell("You do not hold this request any more. What you have typed is still here.");
  }
  if (isOwn && !hadClaim) letGo = false;
  hadClaim = isOwn;
  if (isOwn && isInUse() && isHalfOver(request, facts)) renew(request);
}

const isInUse = () => !document.hidden && performance.now() - lastUsed < USED_WITHIN;

const isHalfOver = (request, facts) =>
  Date.parse(facts.dataset.claimedUntil) - serverNow() < (Number(request.dataset.leaseSeconds) * 1000) / 2;

/** Go on with one's own claim. If that fails, it is tried again until the claim has run out. */
async function renew(request) {
  if (isRenewing) return;
  isRenewing = true;
  const headers = { "HX-Request": "true", ...JSON.parse(request.getAttribute("hx-headers")) };
  try {
    await fetch(request.querySelector("form.claim").action, { method: "POST", headers, signal: AbortSignal.timeout(10000) });
  } catch { /* No answer. */ }
  setTimeout(() => { isRenewing = false; }, 5 * TICK);
}

document.addEventListener("DOMContentLoaded", () => {
  lastUsed = performance.now();
  for (const facts of document.querySelectorAll("[data-claimed-by]")) adapt(requestOf(facts));
  document.querySelector(".desk")?.classList.add("is-scripted");
  setInterval(() => {
    countDown();
    holdOn();
  }, TICK);
});
