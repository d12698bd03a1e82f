// Keeps a page live: notices that nothing arrives any more, connects again, and shows whether it is
// live; clears the page when it has ended.
"use strict";

const SECOND = 1000;
const { heartbeatSeconds } = document.getElementById("connection")?.dataset ?? {};
// How long nothing may arrive: one heartbeat may be lost, and the next one late.
const LONGEST_SILENCE = (2 * heartbeatSeconds + 2) * SECOND;
const LONGEST_CONNECTING = Math.min(10 * SECOND, LONGEST_SILENCE);
const LONGEST_ANSWERING = Math.min(5 * SECOND, LONGEST_SILENCE);
// Longer than the tick below can be late in a tab that somebody looks at.
const SHORTEST_SLEEP = 10 * SECOND;

// htmx would connect again after some of the codes. Here one timer does so after all of them.
const NEVER = 2 ** 31 - 1;
htmx.config.wsReconnectDelay = () => NEVER;

let attempts = 0; // to connect, since the page was last sent anything to show
const reconnectDelay = () => Math.min(5 * SECOND, 250 * 2 ** attempts++) * (0.5 + Math.random() / 2);

let liveSocket; // as htmx wraps it
let socket; // the browser's own, the last that was made
let expectedBy; // when something must have arrived, by `performance.now()`
let silenceTimer;
let reconnectTimer;

function showConnection(state, words) {
  const connection = document.getElementById("connection");
  if (!connection || connection.dataset.state === state) return;
  connection.dataset.state = state;
  connection.firstElementChild.textContent = words;
}

function expectSomething({ within }) {
  expectedBy = performance.now() + within;
  clearTimeout(silenceTimer);
  silenceTimer = setTimeout(giveUp, within);
}

// A connection can be dead without being closed, and a browser that closes it waits for the other
// side first. So what htmx and the listener below are told is not when it closes, but when the page
// gives it up.
function giveUp() {
  const silent = socket;
  silent.close();
  silent.dispatchEvent(new CloseEvent("close", { code: 1006 }));
}

// What the page was loaded with, it has when it first connects. Later it may have missed something.
htmx.createWebSocket = (url) => {
  const made = new WebSocket(socket ? url.replace(/&has=\w+/, "") : url);
  let isClosed = false;
  made.addEventListener("close", (event) => {
    if (isClosed) event.stopImmediatePropagation();
    isClosed = true;
  });
  socket = made;
  expectSomething({ within: LONGEST_CONNECTING });
  return made;
};

document.addEventListener("htmx:wsOpen", (event) => {
  liveSocket = event.detail.socketWrapper;
});

// A heartbeat says that the connection works, and not that the page shows what it should: only what
// is to be shown makes the page live.
document.addEventListener("htmx:wsBeforeMessage", (event) => {
  expectSomething({ within: LONGEST_SILENCE });
  const { message } = event.detail;
  if (!message.startsWith("{")) return;
  event.preventDefault();
  setServerTime(JSON.parse(message).now);
});

// Each connection begins with the status. Screen readers would read out once more what is replaced by
// the same.
document.addEventListener("htmx:oobBeforeSwap", ({ detail }) => {
  const { target, fragment } = detail;
  if (target.matches("#loan-status") && wordsOf(target) === wordsOf(fragment)) detail.shouldSwap = false;
});

/** What a status says; of times, what they are and not how they are written. */
function wordsOf(status) {
  const copy = status.cloneNode(true);
  for (const time of copy.querySelectorAll("time")) time.textContent = time.dateTime;
  for (const clock of copy.querySelectorAll("[data-ends]")) clock.textContent = "";
  return copy.textContent.replace(/\s+/g, " ").trim();
}

document.addEventListener("htmx:wsAfterMessage", () => {
  attempts = 0;
  showConnection("live", "Live");
});

document.addEventListener("htmx:wsClose", ({ detail }) => {
  liveSocket = detail.socketWrapper;
  clearTimeout(silenceTimer);
  const ending = document.getElementById(`ended-${detail.event.code}`);
  if (ending) return end(ending);
  showConnection("lost", "Connection lost, trying again…");
  reconnectTimer = setTimeout(reconnect, reconnectDelay());
});

function reconnect() {
  clearTimeout(reconnectTimer);
  reconnectTimer = undefined;
  liveSocket.reconnect();
}

// The page may not be shown any more: the names that it shows go, too.
function end(ending) {
  socket = undefined;
  document.getElementById("main").replaceChildren(ending.content.cloneNode(true));
  endSessionLinks();
  showCountInTitle();
}

let lookedAt = -Infinity;

// Whoever comes back to the page should soon see it as it is, or that it is not live.
function lookAgain() {
  if (reconnectTimer) return reconnect();
  const now = performance.now();
  if (!socket || now - lookedAt < SECOND) return;
  lookedAt = now;
  expectSomething({ within: Math.min(LONGEST_ANSWERING, expectedBy - now) });
  if (socket.readyState === WebSocket.OPEN) socket.send("look again");
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) lookAgain();
});
document.addEventListener("resume", lookAgain);
window.addEventListener("online", lookAgain);
window.addEventListener("offline", lookAgain);
window.addEventListener("pageshow", (event) => {
  if (event.persisted) lookAgain();
});

// A machine that sleeps stops the timers but not the clock.
let tickedAt = Date.now();
setInterval(() => {
  const now = Date.now();
  if (now - tickedAt > SHORTEST_SLEEP) lookAgain();
  tickedAt = now;
}, 2 * SECOND);

// The number of requests that wait goes in front of the title.
function showCountInTitle() {
  const count = document.getElementById("queue-summary")?.dataset.count;
  const title = document.title.replace(/^\([\d,]+\) /, "");
  document.title = count && count !== "0" ? `(${count}) ${title}` : title;
}

for (const event of ["htmx:afterSwap", "htmx:wsAfterMessage"]) {
  document.addEventListener(event, showCountInTitle);
}
