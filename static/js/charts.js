// The charts of a server's page: one range, one zoom and one crosshair for all of them.

import { linkShown } from "./charts/logs.js";
import { readDrawn } from "./charts/marks.js";
import { Panel } from "./charts/panel.js";
import { Samples } from "./charts/samples.js";
import { fixedSpan, saying, slidingSpan, timesOf } from "./charts/span.js";
import { localise, serverNow } from "./time.js";

const POINTS_PER_PIXEL = 1.25;
const SLIDE_MS = 5_000;
const RETRY_MS = 5_000;

const root = document.getElementById("charts");
const stale = document.getElementById("stale");
const resetButton = document.getElementById("reset-zoom");
const words = root.dataset;
const shownTimes = document.getElementById("span-shown");
const cursorId = `samples-${words.server}`;

let zoom = null; // [from, to] in ms within the span; null shows all of it
let range = words.from && buttonOf(history.state?.range) ? history.state.range : words.range; // what “Whole range” shows
let span = words.from ? fixedSpan(Number(words.from), Number(words.to)) : sliding(range);
let goodAt = serverNow(); // when samples were last read
let retryTimer = 0;

const events = {
  range: () => zoom ?? span.fixed ?? [span.start(), serverNow()],
  zoom: (from, to) => setZoom([from, to]),
  reset,
};

/** Panels that load together: the first charts at once, the rest when somebody opens it. */
class Sheet {
  #samples;
  #loaded = false;

  constructor(elements) {
    this.panels = [...elements].map((figure) => new Panel(figure, words, events));
    this.panels.forEach((panel) => panel.mark(readDrawn()));
    this.#samples = new Samples(words.samples, [...new Set(this.panels.flatMap((panel) => panel.metrics))]);
  }

  async load() {
    const points = Math.round(this.panels[0].width * POINTS_PER_PIXEL);
    if (await this.#samples.load(span, points)) this.#show();
    this.#loaded = true;
  }

  async more() {
    if (!this.#loaded) await this.load();
    else if (await this.#samples.more()) this.#show();
  }

  #show() {
    this.panels.forEach((panel) => panel.show(this.#samples.columns(panel.metrics)));
  }
}

const sheets = [];

function buttonOf(word) {
  return document.querySelector(`#ranges [data-range="${CSS.escape(word ?? "")}"]`);
}

function sliding(word) {
  return slidingSpan(word, 1000 * buttonOf(word).dataset.seconds);
}

const panels = () => sheets.flatMap((sheet) => sheet.panels);

// --- Reading, and saying so when it fails ---

async function read(how) {
  clearTimeout(retryTimer);
  try {
    await Promise.all(sheets.map((sheet) => sheet[how]()));
    goodAt = serverNow();
    stale.hidden = true;
  } catch (error) {
    stale.hidden = false;
    stale.querySelector("time").dateTime = new Date(goodAt).toISOString();
    localise(stale);
    if (!document.hidden) retryTimer = setTimeout(() => read(how), RETRY_MS);
  } finally {
    root.removeAttribute("aria-busy");
  }
}

// A link to what is looked at shows the same to others.
function setZoom(times) {
  zoom = times;
  history.replaceState({ range }, "", addressOf(zoom));
  showTimes();
  panels().forEach((panel) => panel.redraw());
}

function addressOf(times) {
  const fixed = times ?? span.fixed;
  return fixed ? `?${saying(fixed)}` : `?range=${range}`;
}

function showTimes() {
  const times = zoom ?? span.fixed;
  resetButton.hidden = shownTimes.hidden = !times;
  resetButton.querySelector("kbd").hidden = !zoom;
  if (!times) return;
  [...shownTimes.querySelectorAll("time")].forEach((time, i) => (time.dateTime = new Date(times[i]).toISOString()));
  localise(shownTimes);
}

function reset() {
  if (zoom) setZoom(null);
  else if (span.fixed) choose(sliding(range), true);
}

function choose(chosen, push) {
  span = chosen;
  range = chosen.word || range;
  zoom = null;
  if (push) history.pushState({ range }, "", addressOf(null));
  for (const link of document.querySelectorAll("#ranges [data-range]")) {
    link.dataset.range === span.word ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current");
  }
  showTimes();
  root.setAttribute("aria-busy", "true");
  panels().forEach((panel) => panel.redraw());
  return read("load");
}

function spanOfAddress() {
  const times = timesOf(location.search);
  const word = new URLSearchParams(location.search).get("range");
  return times ? fixedSpan(...times) : sliding(buttonOf(word) ? word : words.firstRange);
}

// --- What happens on the page ---

document.getElementById("ranges").addEventListener("click", (event) => {
  const link = event.target.closest("a[data-range]");
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  choose(sliding(link.dataset.range), link.dataset.range !== span.word || zoom !== null);
});
window.addEventListener("popstate", () => choose(spanOfAddress(), false));
resetButton.addEventListener("click", reset);
document.getElementById("retry").addEventListener("click", () => read("more"));
document.addEventListener("keydown", (event) => event.key === "Escape" && zoom && reset());
document.addEventListener("display:changed", () => panels().forEach((panel) => panel.repaint()));
document.addEventListener("visibilitychange", () => document.hidden || read("more"));

// The first sample of a server: from here on the page has charts.
function arrived({ detail: { swapped } }) {
  const cursor = swapped.get(cursorId);
  if (!cursor) return;
  if (sheets.length) read("more");
  else if (Number(cursor.value) > 0) location.reload();
}
document.addEventListener("live:swapped", arrived);
for (const event of ["live:epoch", "live:refresh"]) document.addEventListener(event, () => read("more"));
document.addEventListener("live:gone", ({ detail }) => {
  if (detail.topic !== `vitals:${words.server}`) return;
  document.dispatchEvent(new CustomEvent("toast", { detail: { kind: "warning", text: words.wordGone } }));
});

// Limits, and times of trouble, are brought by whoever knows them, whenever they do.
function markAll() {
  const drawn = readDrawn();
  panels().forEach((panel) => panel.mark(drawn));
}
document.addEventListener("htmx:load", markAll);
document.addEventListener("live:swapped", ({ detail: { swapped } }) => {
  if ([...swapped.values()].some((element) => element.querySelector("[data-chart-limits]"))) markAll();
});

// The present moves on even when nothing arrives: then what is missing shows at the right edge.
setInterval(() => {
  if (!zoom && !span.fixed && !document.hidden && serverNow() - goodAt > 2 * SLIDE_MS) panels().forEach((panel) => panel.redraw());
}, SLIDE_MS);

const rest = root.querySelector("details.rest");
const first = root.querySelectorAll(".family:not(.rest) .panel");
if (first.length) sheets.push(new Sheet(first));
rest?.addEventListener("toggle", () => {
  sheets.push(new Sheet(rest.querySelectorAll(".panel")));
  read("more");
}, { once: true });
linkShown(document.getElementById("logs-link"), words.logs, () => zoom ?? span.fixed ?? [span.start(), null]);
showTimes();
read("load");
