// The application form: keeps its id, shows the first error, and tells assistive technology about
// errors beside fields.
"use strict";

document.addEventListener("htmx:afterSwap", (event) => {
  const { target } = event.detail;
  // Not `target.id`: the form's own field of that name would be found instead.
  if (target.matches("#apply")) {
    keepFormId({ isBack: false });
    showFirstError(document.getElementById("apply"));
  }
});

// The place for a field's error is a live region, which stays while its words change: whoever hears
// the page is told once. An error appears when its field is left, and typing only takes it away.
document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  const { target: place, serverResponse, requestConfig } = detail;
  if (!place.matches(".field-error")) return;
  const answer = new DOMParser().parseFromString(serverResponse, "text/html");
  const words = answer.querySelector(".field-error")?.textContent.trim();
  const input = inputOf(place);
  const isOutdated = requestConfig.parameters[input.name] !== input.value;
  const isTyping = requestConfig.triggeringEvent.type === "input";
  if (words === undefined || isOutdated || (isTyping && words)) return;
  if (place.textContent.trim() !== words) place.textContent = words;
  markValidity(place);
});

function showFirstError(form) {
  const field = form?.querySelector("[aria-invalid=true]");
  if (field) field.focus();
  else form?.querySelector(".notice:not([hidden])")?.scrollIntoView({ block: "center" });
}

// Each form has an id, so that it makes one loan request however often it is sent. When somebody
// goes back and the browser loads the form again, it arrives with another id: restore the old one.
function keepFormId({ isBack }) {
  const field = document.getElementById("id_id");
  if (!field) return;
  if (isBack && history.state?.number) field.value = history.state.number;
  history.replaceState({ ...history.state, number: field.value }, "");
}

document.addEventListener("DOMContentLoaded", () => {
  const [navigation] = performance.getEntriesByType("navigation");
  keepFormId({ isBack: navigation.type === "back_forward" });
});

// When somebody goes back, the browser may show the page as it was left, with its button disabled.
// htmx would still take the request for unfinished, so the form is replaced by a copy.
window.addEventListener("pageshow", (event) => {
  const form = document.getElementById("apply");
  if (!event.persisted || !form) return;
  const fresh = form.cloneNode(true);
  fresh.classList.remove("htmx-request");
  fresh.querySelector("[data-disabled-by-htmx]")?.removeAttribute("disabled");
  form.replaceWith(fresh);
  htmx.process(fresh);
});

function markValidity(error) {
  const input = inputOf(error);
  const isInvalid = error.textContent.trim() !== "";
  // A field that is valid and was never invalid is not marked.
  if (isInvalid || input.hasAttribute("aria-invalid")) input.setAttribute("aria-invalid", String(isInvalid));
  const helptext = document.getElementById(`${input.id}_helptext`);
  input.setAttribute("aria-describedby", [helptext?.id, error.id].filter(Boolean).join(" "));
}

function inputOf(error) {
  return error.closest(".field").querySelector("input, select, textarea");
}
