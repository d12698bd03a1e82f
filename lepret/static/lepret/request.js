// An underwriter's page of one request. What is typed stays while the rest is replaced.
"use strict";

const requestPage = () => document.getElementById("request-page");
const LIVE_PARTS = "#request-standing,#request,#request-past";

// Each connection begins with all of the page. What is the same is not replaced: somebody may be
// selecting it, or having it read out.
document.addEventListener("htmx:oobBeforeSwap", ({ detail }) => {
  const { target, fragment } = detail;
  if (!target.matches(LIVE_PARTS)) return;
  const part = fragment.querySelector(`#${target.id}`) ?? fragment;
  if (wordsOf(target) === wordsOf(part) && factsIn(target) === factsIn(part)) detail.shouldSwap = false;
});

const factsIn = (part) => JSON.stringify([part.querySelector("[name=shown_revision]")?.value, part.dataset]);

document.addEventListener("htmx:wsAfterMessage", () => {
  if (requestPage()) adapt(requestPage());
});

// A decision was refused: the page may be outdated.
document.addEventListener("outdated", () => {
  if (!requestPage()) return;
  quietly(htmx.ajax("GET", location.pathname, { target: "#request", swap: "none", selectOOB: LIVE_PARTS }));
});
document.addEventListener("htmx:afterSettle", () => {
  if (requestPage()) adapt(requestPage());
});
