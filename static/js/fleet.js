// The fleet page: links that filter, a list that puts itself in order, cards that open on a click.

import { liveList } from "./live/list.js";

const RESORT_MS = 15000;
const fleet = liveList({ id: "fleet", row: ".card", opener: ".card-name a" });

function markCurrent() {
  const state = fleet.element()?.dataset.state ?? "";
  const narrowed = new URLSearchParams(location.search).size > 0;
  for (const count of document.querySelectorAll("[data-count]")) {
    const current = count.dataset.count === state && (state !== "" || !narrowed);
    current ? count.setAttribute("aria-current", "true") : count.removeAttribute("aria-current");
  }
}

document.addEventListener("live:swapped", ({ detail: { swapped } }) => {
  const totals = swapped.get("fleet-totals");
  if (!totals) return;
  markCurrent();
  fleet.compare(totals.dataset.digest);
});
document.addEventListener("htmx:afterSettle", markCurrent);
document.addEventListener("htmx:pushedIntoHistory", markCurrent);
document.addEventListener("htmx:historyRestore", markCurrent);
markCurrent();

// Ordered by a number that moves: worst and name follow from what the totals say, these do not.
setInterval(() => {
  const list = fleet.element();
  if (!["cpu", "memory"].includes(list?.dataset.sort) || fleet.isWaiting()) return;
  if (!document.hidden && !list.matches(":hover")) fleet.refresh();
}, RESORT_MS);
