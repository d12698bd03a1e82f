// Times as the reader sees them: in the reader's zone, and how long ago by the server's clock.
"use strict";

// The server's time when `performance.now()` was 0. Not by `Date`, which may be wrong, and may be set
// while the page is open.
let serverTimeOrigin = performance.timeOrigin;

function setServerTime(now, arrivedAt = performance.now()) {
  serverTimeOrigin = now - arrivedAt;
  showWaitingTimes();
}

const serverNow = () => serverTimeOrigin + performance.now();

/** A span of milliseconds, as `readmodels/pages/clocks.py` writes it. */
function inWords(span) {
  const minutes = Math.floor(span / 60000);
  if (minutes < 1) return "less than a minute";
  if (minutes < 60) return minutes === 1 ? "1 minute" : `${minutes} minutes`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return hours === 1 ? "1 hour" : `${hours} hours`;
  return `${Math.floor(hours / 24)} days`;
}

function showWaitingTimes() {
  const now = serverNow();
  for (const time of document.querySelectorAll("time[data-waiting]")) {
    write(time, inWords(now - Date.parse(time.dateTime)));
  }
  for (const clock of document.querySelectorAll("[data-ends]")) showClock(clock, now);
}

const SOON = 0.75; // the share of a term after which it ends soon

/** How much is left of a term, which began when the request was complete. */
function showClock(clock, now) {
  const facts = clock.closest("[data-complete]").dataset;
  const [begins, ends] = [facts.complete, facts[clock.dataset.ends]].map((time) => Date.parse(time));
  const state = now >= ends ? "over" : now - begins >= SOON * (ends - begins) ? "soon" : "fine";
  const words = {
    over: `${inWords(now - ends)} overdue`,
    soon: `soon, in ${inWords(ends - now)}`,
    fine: `in ${inWords(ends - now)}`,
  };
  clock.className = `clock is-${state}`;
  write(clock, words[state]);
}

// In the order of `lepret.common.formats.moment`. Browsers name the zones of some regions in one
// kind of English, and of others in another; elsewhere they write, say, GMT+5:30.
const [BRITISH, AMERICAN] = ["en-GB", "en-US"].map(
  (locale) =>
    new Intl.DateTimeFormat(locale, {
      day: "numeric",
      month: "short",
      year: "numeric",
      hour: "2-digit",
      minute: "2-digit",
      hourCycle: "h23",
      timeZoneName: "short",
    }),
);

function zoneName(moment) {
  const names = [BRITISH, AMERICAN].map(
    (format) => format.formatToParts(moment).find(({ type }) => type === "timeZoneName").value,
  );
  return names.find((name) => !/^GMT[+-]/.test(name)) ?? names[0];
}

function localTime(moment) {
  const parts = BRITISH.formatToParts(moment);
  return parts.map(({ type, value }) => (type === "timeZoneName" ? zoneName(moment) : value)).join("");
}

function showLocalTimes() {
  for (const time of document.querySelectorAll("time[data-local]")) {
    const moment = new Date(time.dateTime);
    if (!Number.isNaN(moment.getTime())) write(time, localTime(moment));
  }
}

// Screen readers may read out what is written, though it be the same as before.
function write(element, words) {
  if (element.textContent !== words) element.textContent = words;
}

let shownSoon; // a timer

/** Where somebody lives shows at once. For how long something waits, a thousand rows are gone through. */
function showTimes() {
  showLocalTimes();
  shownSoon ??= setTimeout(() => {
    shownSoon = undefined;
    showWaitingTimes();
  }, 1000);
}

const [navigation] = performance.getEntriesByType("navigation");
const pageMadeAt = Number(document.getElementById("connection")?.dataset.now);
if (pageMadeAt) setServerTime(pageMadeAt, navigation.responseStart);

showTimes();
showWaitingTimes();
for (const event of ["htmx:afterSwap", "htmx:wsAfterMessage"]) {
  document.addEventListener(event, showTimes);
}
setInterval(showWaitingTimes, 15000);
