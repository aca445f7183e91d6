// From a chart to the lines of its server at that time: a link for what is shown, and one for an instant that is chosen
// in a chart by a click, or with Enter at the crosshair.

import { clockTime, fullTime } from "../time.js";
import { saying } from "./span.js";

const LEAST_MS = 60_000; // looked at before and after an instant
const SHARE = 0.01; // of what the chart shows, when that is more: a thinned picture is not exact to the second

/** `logs` is the address of the server's lines, `times` says [from, to] of what is shown, to = null: it goes on. */
export function linkShown(link, logs, times) {
  const renew = () => {
    const [from, to] = times();
    link.href = `${logs}&${to === null ? new URLSearchParams({ from: new Date(from).toISOString() }) : saying([from, to])}`;
  };
  for (const event of ["pointerdown", "focus", "mouseenter"]) link.addEventListener(event, renew);
  renew();
}

export class LogsAt {
  #plot;
  #link;
  #at = 0;

  constructor(plot, words) {
    this.#plot = plot;
    this.#link = document.createElement("a");
    this.#link.className = "plot-logs button";
    this.#link.hidden = true;
    this.#link.dataset.logs = words.logs;
    this.#link.dataset.says = words.wordLogsAt;
    this.#plot.append(this.#link);
    this.#link.addEventListener("keydown", (event) => event.key === "Escape" && this.#leave(event));
  }

  /** Offer the lines around `at` (ms) of a chart that shows `shownMs`. */
  offer(at, shownMs, chart) {
    const around = Math.max(LEAST_MS, shownMs * SHARE);
    this.#at = at;
    this.#link.href = `${this.#link.dataset.logs}&${saying([at - around, at + around])}`;
    this.#link.textContent = this.#link.dataset.says.replace("%s", clockTime(at));
    this.#link.title = fullTime(at);
    this.#link.hidden = false;
    this.place(chart);
  }

  /** The chart was drawn: the instant may be somewhere else, or gone. */
  place(chart) {
    if (this.#link.hidden) return;
    const left = chart.valToPos(this.#at, "x");
    if (left < 0 || left > chart.over.clientWidth) return this.hide();
    const width = this.#link.offsetWidth;
    const most = this.#plot.clientWidth - width;
    this.#link.style.left = `${Math.max(0, Math.min(most, chart.over.offsetLeft + left - width / 2))}px`;
  }

  focus() {
    this.#link.focus();
  }

  hide() {
    this.#link.hidden = true;
  }

  #leave(event) {
    event.stopPropagation();
    this.hide();
    this.#plot.focus();
  }
}
