// Shows whether the page is live, clears it when it has ended, and updates waiting times.
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
