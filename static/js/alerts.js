// The pages of incidents: a list that keeps itself true, forms that act in place, keys, a chart that grows.

import { openSheet, submit } from "./alerts/act.js";
import { isTyping, press } from "./alerts/keys.js";
import { liveList } from "./live/list.js";

const CHART_MS = 5_000;
const rows = () => [...document.querySelectorAll("#incident-rows > .incident")];
const list = liveList({
  id: "incidents",
  row: ".incident",
  opener: ".incident-open",
  busy: ":active, :has(.is-sending)",
  around: keepFocus,
});

// A row that moved loses the focus; of one that left, the row in its place has it.
async function keepFocus(swap) {
  const focused = document.activeElement;
  const place = rows().findIndex((row) => row.contains(focused));
  await swap();
  if (document.activeElement !== document.body || place < 0) return;
  const row = rows()[Math.min(place, rows().length - 1)];
  (focused.isConnected ? focused : row?.querySelector(".incident-open"))?.focus({ preventScroll: true });
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
  const opener = event.target.closest("[data-sheet]");
  if (opener && openSheet(opener.dataset.sheet, event.target.closest(".incident"))) event.preventDefault();
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
document.addEventListener("live:swapped", ({ detail: { swapped } }) => {
  if (swapped.has("incidents-cursor")) list.compare(swapped.get("incidents-cursor").value);
  if ([...swapped.keys()].some((id) => id.startsWith("samples-") || id.startsWith("incident-"))) redraw();
});
document.addEventListener("live:gone", ({ detail: { topic } }) => {
  if (!topic.startsWith("incident:")) return;
  const text = document.getElementById("act-words").dataset.gone;
  document.dispatchEvent(new CustomEvent("toast", { detail: { kind: "info", text } }));
});
document.addEventListener("visibilitychange", redraw);
for (const event of ["live:epoch", "live:refresh"]) document.addEventListener(event, redraw);

document.getElementById("show-keys")?.removeAttribute("hidden");
document.addEventListener("htmx:afterSettle", () => document.getElementById("show-keys")?.removeAttribute("hidden"));
if (location.hash === "#silence") document.querySelector("details.act")?.setAttribute("open", "");
