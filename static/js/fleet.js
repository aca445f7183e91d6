// The fleet page: links that filter, a list that puts itself in order, cards that open on a click.

import { localise } from "./time.js";

const RESORT_MS = 15000;
let waiting = null; // a refresh that is due and waits until it disturbs nobody

Idiomorph.defaults.ignoreActiveValue = true; // what is being typed is newer than any answer
// Times arrive as UTC and are said in the person's words before they are compared, so that nothing flickers.
Idiomorph.defaults.callbacks.beforeNodeMorphed = (old, fresh) => {
  if (fresh instanceof Element && fresh.matches("time")) localise(fresh);
};
Idiomorph.defaults.callbacks.beforeNodeAdded = (fresh) => {
  if (fresh instanceof Element) localise(fresh);
};

const list = () => document.getElementById("fleet");

function show(address) {
  return htmx.ajax("GET", address, { source: list(), target: list(), swap: "morph" });
}

function markCurrent() {
  const state = list()?.dataset.state ?? "";
  const narrowed = new URLSearchParams(location.search).size > 0;
  for (const count of document.querySelectorAll("[data-count]")) {
    const current = count.dataset.count === state && (state !== "" || !narrowed);
    current ? count.setAttribute("aria-current", "true") : count.removeAttribute("aria-current");
  }
}

// Something is being selected, chosen or pressed in the list: it must not move now.
function disturbs() {
  const selection = getSelection();
  const selecting = !selection.isCollapsed && list().contains(selection.anchorNode);
  return selecting || list().matches(":active") || document.activeElement?.matches("#filters select");
}

function refresh() {
  clearTimeout(waiting);
  waiting = null;
  if (!list()) return;
  if (document.hidden || disturbs()) waiting = setTimeout(refresh, 1000);
  else show(location.pathname + location.search);
}

function compareDigests() {
  const totals = document.getElementById("fleet-totals");
  if (!waiting && totals && list() && totals.dataset.digest !== list().dataset.digest) waiting = setTimeout(refresh, 150);
}

document.addEventListener("click", (event) => {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
  const link = event.target.closest("a[data-list]");
  if (link) {
    event.preventDefault();
    show(link.getAttribute("href")).then(() => link.closest(".pager") && list().scrollIntoView({ block: "start" }));
    return;
  }
  const card = event.target.closest(".card");
  if (card && !event.target.closest("a, button") && getSelection().isCollapsed) card.querySelector(".card-name a").click();
});

document.addEventListener("live:swapped", (event) => {
  if (event.detail.id !== "fleet-totals") return;
  markCurrent();
  compareDigests();
});
document.addEventListener("htmx:afterSettle", markCurrent);
document.addEventListener("htmx:pushedIntoHistory", markCurrent);
document.addEventListener("htmx:historyRestore", markCurrent);
markCurrent();

// Ordered by a number that moves: worst and name follow from what the totals say, these do not.
setInterval(() => {
  if (["cpu", "memory"].includes(list()?.dataset.sort) && !waiting && !document.hidden && !list().matches(":hover")) refresh();
}, RESORT_MS);
