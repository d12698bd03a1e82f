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

function showFailure(form, hasFailed) {
  if (!form.matches("form, body")) return; // A field is validated again at the next key.
  const words = form.querySelector(".failure") ?? document.querySelector("main > .failure");
  if (!words) return;
  words.hidden = !hasFailed;
  if (!hasFailed) return;
  document.getElementById("notices")?.replaceChildren(); // They belong to an earlier request.
  words.scrollIntoView({ block: "center" });
}
