// What htmx does not do on any page: keep other pages out, and show that no answer came.
"use strict";

// Never put a whole page (a proxy's, the login form, an error page) inside this one.
document.addEventListener("htmx:beforeSwap", (event) => {
  if (!/^\s*<(!doctype|html)/i.test(event.detail.xhr.responseText)) return;
  event.detail.shouldSwap = false;
  event.detail.isError = true;
});

for (const failure of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(failure, ({ detail }) => showFailure(detail.elt, true));
}
document.addEventListener("htmx:beforeRequest", ({ detail }) => showFailure(detail.elt, false));

/** What a script asks htmx for fails without a word of its own: whoever listens to the events above says so. */
const quietly = (asked) => asked?.catch(() => {});

document.addEventListener("htmx:afterSwap", ({ detail }) => {
  if (detail.target.id === "main") endSessionLinks();
});

/** What only somebody who is logged in can use goes with the session. */
function endSessionLinks() {
  // Not by `:has()` on the body, for which each change of a row has the whole page styled anew.
  if (document.querySelector("#main > .session-over")) document.getElementById("session-links")?.remove();
}

function showFailure(form, hasFailed) {
  if (!form.matches("form, body")) return; // A field is validated again at the next key.
  const words = form.querySelector(".failure") ?? document.querySelector("main > .failure");
  if (!words) return;
  words.hidden = !hasFailed;
  if (!hasFailed) return;
  words.scrollIntoView({ block: "center" });
}

// With `after` in its address, a page waits for what was just recorded. It has done so: a reload, or
// the address where somebody keeps it, must not wait again.
const here = new URL(location.href);
if (here.searchParams.has("after")) {
  here.searchParams.delete("after");
  history.replaceState(history.state, "", here);
}
