// The pages of incidents: a list that keeps itself true, forms that act in place, keys, a chart that grows.

import { openSheet, submit } from "./alerts/act.js";
import { isTyping, press } from "./alerts/keys.js";
import { localise } from "./time.js";

const CHART_MS = 5_000;
let waiting = null; // a refresh that is due and waits until it disturbs nobody

Idiomorph.defaults.ignoreActiveValue = true; // what is being typed is newer than any answer
// Times arrive as UTC and are said in the person's words before they are compared, so that nothing flickers.
Idiomorph.defaults.callbacks.beforeNodeMorphed = (old, fresh) => {
  if (fresh instanceof Element && fresh.matches("time")) localise(fresh);
};
Idiomorph.defaults.callbacks.beforeNodeAdded = (fresh) => {
  if (fresh instanceof Element) localise(fresh);
};

const list = () => document.getElementById("incidents");
const rows = () => [...document.querySelectorAll("#incident-rows > .incident")];

// --- The list ---

async function show(address) {
  const focused = document.activeElement;
  const place = rows().findIndex((row) => row.contains(focused));
  await htmx.ajax("GET", address, { source: list(), target: list(), swap: "morph" });
  if (document.activeElement === document.body && place >= 0) keepFocus(focused, place);
}

// A row that moved loses the focus; of one that left, the row in its place has it.
function keepFocus(focused, place) {
  const row = rows()[Math.min(place, rows().length - 1)];
  (focused.isConnected ? focused : row?.querySelector(".incident-open"))?.focus({ preventScroll: true });
}

// Something is being selected, chosen, pressed or sent in the list: it must not move now.
function disturbs() {
  const selection = getSelection();
  const selecting = !selection.isCollapsed && list().contains(selection.anchorNode);
  return selecting || list().matches(":active, :has(.is-sending)") || document.activeElement?.matches("#filters select");
}

function refresh() {
  clearTimeout(waiting);
  waiting = null;
  if (!list()) return;
  if (document.hidden || disturbs()) waiting = setTimeout(refresh, 1000);
  else show(location.pathname + location.search);
}

function compareDigests() {
  const cursor = document.getElementById("incidents-cursor");
  if (!waiting && cursor && list() && cursor.value !== list().dataset.digest) waiting = setTimeout(refresh, 150);
}

// --- The chart of an incident ---

let drawnAt = 0;
let chartTimer = 0;

async function redraw() {
  const figure = document.getElementById("incident-chart");
  clearTimeout(chartTimer);
  const wait = drawnAt + CHART_MS - Date.now();
  if (!figure || document.hidden) return;
  if (wait > 0) {
    chartTimer = setTimeout(redraw, wait);
    return;
  }
  drawnAt = Date.now();
  const answer = await fetch(figure.dataset.chart + location.search, { headers: { "HX-Request": "true" } }).catch(() => null);
  if (!answer?.ok) return; // the known one stays; the widget says that the portal is away
  const fresh = document.createElement("template");
  fresh.innerHTML = await answer.text();
  Idiomorph.morph(figure, fresh.content.querySelector("#incident-chart"), { morphStyle: "outerHTML" });
}

// --- What happens on the page ---

document.addEventListener("click", (event) => {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
  const link = event.target.closest("a[data-list]");
  const opener = event.target.closest("[data-sheet]");
  const row = event.target.closest(".incident");
  if (link) {
    event.preventDefault();
    show(link.getAttribute("href")).then(() => link.closest(".pager") && list().scrollIntoView({ block: "start" }));
  } else if (opener && openSheet(opener.dataset.sheet, row)) {
    event.preventDefault();
  } else if (row && !event.target.closest("a, button") && getSelection().isCollapsed) {
    row.querySelector(".incident-open").click();
  }
});
document.addEventListener("click", (event) => {
  if (event.target.matches("dialog.sheet, [data-close], [data-close] *")) event.target.closest("dialog").close();
});
document.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-act]")) return;
  event.preventDefault();
  submit(event.target);
});
document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  if (!document.querySelector("dialog[open]") && press(event.key, rows())) event.preventDefault();
});
document.addEventListener("live:swapped", ({ detail: { id } }) => {
  if (id === "incidents-cursor") compareDigests();
  if (id.startsWith("samples-") || id.startsWith("incident-")) redraw();
});
document.addEventListener("live:gone", ({ detail: { topic } }) => {
  if (!topic.startsWith("incident:")) return;
  const text = document.getElementById("act-words").dataset.gone;
  document.dispatchEvent(new CustomEvent("toast", { detail: { kind: "info", text } }));
});
document.addEventListener("visibilitychange", redraw);

document.getElementById("show-keys")?.removeAttribute("hidden");
document.addEventListener("htmx:afterSettle", () => document.getElementById("show-keys")?.removeAttribute("hidden"));
if (location.hash === "#silence") document.querySelector("details.act")?.setAttribute("open", "");
