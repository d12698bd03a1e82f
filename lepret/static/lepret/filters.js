// Which rows of the queue are shown, and in which order: what `readmodels/pages/queue_filter.py` does for
// the page as it comes, here while it is open. Rows that do not fit are hidden, by queue.js and when
// nothing moves under a pointer. What is chosen is kept in the address.
"use strict";

{
  const FITS = {
    all: () => true,
    unclaimed: (row) => !claimOn(row.dataset).holder,
    mine: (row) => claimOn(row.dataset).isOwn,
    due: (row) => isDueSoon(row.dataset),
    large: (row) => "aboveLimit" in row.dataset,
    second: ({ dataset }) => Boolean(dataset.for || dataset.against),
  };
  const RANK = {
    due: () => 0,
    amount: ({ dataset }) => -dataset.amount,
    score: ({ dataset }) => Number(dataset.score),
    waiting: (row) => Date.parse(row.querySelector("[data-waiting]").dateTime),
  };
  const DEFAULTS = { show: "all", sort: "due" };
  const LOOKS_AGAIN_EVERY = 5000; // milliseconds: claims run out, and terms end

  const form = document.getElementById("queue-filter");
  const chosen = (name) => form.elements[name].value;
  const amount = (name) => form.elements[name].valueAsNumber; // NaN, which nothing is less than: none

  function isDueSoon({ complete, due }) {
    const [begins, ends] = [complete, due].map(Date.parse);
    return serverNow() - begins >= SOON * (ends - begins);
  }

  /** What tells of each row whether it is wanted. */
  function wanted() {
    const [from, to, fits] = [amount("from"), amount("to"), FITS[chosen("show")]];
    return (row) => !(row.dataset.amount < from || row.dataset.amount > to) && fits(row);
  }

  /** The ids of rows by what was chosen; those of the same rank as they are due, or else as they were. */
  function sorted(ids) {
    const rank = RANK[chosen("sort")];
    const places = ids.map((id) => {
      const row = document.getElementById(id);
      return { id, rank: rank(row), due: Date.parse(row.dataset.complete) };
    });
    places.sort((a, b) => a.rank - b.rank || a.due - b.due);
    return places.map(({ id }) => id);
  }

  const inWords = new Intl.NumberFormat("en-GB");

  function showCount() {
    if (!hasAllRows()) return;
    const isFiltered = ["from", "to"].some((name) => chosen(name)) || chosen("show") !== DEFAULTS.show;
    const count = document.getElementById("filter-count");
    const words = isFiltered ? shownInWords() : "";
    if (count.textContent !== words) count.textContent = words;
  }

  function shownInWords() {
    const rows = [...document.querySelectorAll("#queue tbody > tr:not(.is-done)")];
    const shown = rows.filter((row) => !row.hidden && !row.parentElement.hidden).length;
    return `${inWords.format(shown)} of ${inWords.format(rows.length)} shown.`;
  }

  function keepInAddress() {
    const address = new URL(location.href);
    for (const [name, value] of new FormData(form)) {
      if (value && value !== DEFAULTS[name]) address.searchParams.set(name, value);
      else address.searchParams.delete(name);
    }
    history.replaceState(history.state, "", address);
  }

  function choose() {
    for (const errors of form.querySelectorAll(".errorlist")) errors.remove();
    for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
    document.getElementById("filter-backwards").hidden = !(amount("from") > amount("to"));
    keepInAddress();
    rearrange();
  }

  function start() {
    Object.assign(wishes, { wanted, sorted });
    form.querySelector("button").hidden = true;
    form.addEventListener("input", choose);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      choose();
    });
    document.addEventListener("arranged", showCount);
    setInterval(() => {
      if (shownRows() && !isArranged(shownRows(), sorted(order))) reorder();
    }, LOOKS_AGAIN_EVERY);
    rearrange();
  }

  if (form) document.addEventListener("DOMContentLoaded", start);
}
