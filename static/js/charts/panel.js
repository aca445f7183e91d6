// One chart with its legend, its summary in words and its table.

import uPlot from "../../uplot/uPlot.esm.js";
import { quantity, tick } from "../quantity.js";
import { fullTime } from "../time.js";
import { LogsAt } from "./logs.js";
import { Marks } from "./marks.js";

const COLOURS = 8;
const DASHES = [[], [7, 3], [2, 2], [9, 3, 2, 3], [4, 4], [12, 4], [1, 3], [6, 2, 1, 2, 1, 2]];
const TABLE_ROWS = 200;
const MOST_SUMMARISED = 6;
const LANGUAGE = document.documentElement.lang || undefined;
const ZONE = document.body.dataset.timeZone || undefined;

// Steps of an axis that counts in 1,024s: 1, 2, 5, 10, … of each of its units.
const BINARY_STEPS = [0, 1, 2, 3, 4].flatMap((power) => [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500].map((step) => step * 1024 ** power));
const BINARY = { "KB/s": BINARY_STEPS, MB: BINARY_STEPS };

const clock = (options) => new Intl.DateTimeFormat(LANGUAGE, { timeZone: ZONE, hour12: false, ...options });
const HOURS = clock({ hour: "2-digit", minute: "2-digit" });
const DAYS = clock({ month: "short", day: "numeric" });
const DAY_MS = 86_400_000;
const SECONDS = clock({ hour: "2-digit", minute: "2-digit", second: "2-digit" });
const EXACT = clock({ month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short" });

export class Panel {
  metrics;
  #figure;
  #words;
  #events;
  #plot;
  #chart = null;
  #shown = { series: [], columns: [[]] };
  #cursor = null; // row under the crosshair
  #marks;
  #logs;

  /** `events`: zoom(from, to), reset(); `range()` says [from, to] in ms. */
  constructor(figure, words, events) {
    this.#figure = figure;
    this.#words = words;
    this.#events = events;
    this.#plot = figure.querySelector(".plot");
    this.metrics = figure.dataset.metrics.split(",");
    this.#marks = new Marks(this.#plot, this.metrics);
    this.#logs = new LogsAt(this.#plot, words);
    this.#plot.addEventListener("keydown", (event) => this.#walk(event));
    this.#plot.addEventListener("click", (event) => event.target.closest(".u-over") && this.#offerLogs());
    this.#plot.addEventListener("dblclick", () => this.#logs.hide());
    this.#plot.addEventListener("blur", () => this.#chart?.setCursor({ left: -10, top: -10 }));
    this.#details.addEventListener("toggle", () => this.#showTable());
    new ResizeObserver(() => this.#resize()).observe(this.#plot);
  }

  show(shown) {
    const same = shown.series.map((one) => one.label).join() === this.#shown.series.map((one) => one.label).join();
    this.#shown = shown;
    this.#figure.classList.remove("is-loading");
    this.#figure.classList.toggle("is-empty", shown.columns[0].length === 0);
    this.#plot.dataset.says = shown.columns[0].length ? "" : this.#words.wordNone;
    if (this.#chart && same) this.#chart.setData(shown.columns);
    else this.#draw();
    this.#showLegend();
    this.#summarise();
    this.#showTable();
  }

  /** Draw these limits and spans (see marks.js), as far as they are of this panel's metrics. */
  mark(drawn) {
    if (!this.#marks.take(drawn)) return;
    this.#showLegend();
    this.#summarise();
    this.#chart?.setData(this.#shown.columns); // the axis may have to make room
  }

  get width() {
    return this.#plot.clientWidth || 400;
  }

  /** Draw again what is known: the present has moved, or the zoom. */
  redraw() {
    this.#chart?.setData(this.#shown.columns);
  }

  /** Draw again in the colours of another theme. */
  repaint() {
    this.#chart?.redraw();
  }

  get #details() {
    return this.#figure.querySelector(".numbers");
  }

  #say(value, one) {
    return quantity(value, one?.unit ?? this.#figure.dataset.unit, this.#words);
  }

  // --- The chart ---

  #draw() {
    this.#chart?.destroy();
    this.#chart = null;
    if (!this.#shown.series.length) return;
    this.#chart = new uPlot(this.#options(), this.#shown.columns, this.#plot);
  }

  #options() {
    const ink = () => getComputedStyle(this.#plot).getPropertyValue("color");
    const faint = () => getComputedStyle(this.#plot).getPropertyValue("border-top-color");
    const axis = { stroke: ink, font: "11px system-ui, sans-serif", ticks: { show: false } };
    return {
      ...this.#size(),
      ms: 1,
      padding: [8, 16, 0, 0],
      tzDate: (ms) => (ZONE ? uPlot.tzDate(new Date(ms), ZONE) : new Date(ms)),
      legend: { show: false },
      scales: { x: { range: () => this.#events.range() }, y: { range: (_, low, high) => this.#span(low, high) } },
      axes: [
        { ...axis, size: 24, space: 64, grid: { stroke: faint, width: 1 }, values: (_, splits, __, ___, step) => splits.map((at) => (step < 60_000 ? SECONDS : step < DAY_MS ? HOURS : DAYS).format(at)) },
        { ...axis, size: 58, space: 28, incrs: BINARY[this.#figure.dataset.unit], grid: { stroke: faint, width: 1 }, values: (_, splits) => splits.map((value) => tick(value, this.#shown.series[0].unit, this.#words)) },
      ],
      series: [{}, ...this.#shown.series.map((one, i) => this.#line(one, i))],
      cursor: {
        y: false,
        points: { size: 7 },
        drag: { x: true, y: false, setScale: false, dist: 8 },
        sync: { key: "server", setSeries: false },
        bind: { dblclick: () => () => this.#events.reset() },
      },
      hooks: {
        setCursor: [() => this.#follow()],
        setSelect: [(chart) => this.#select(chart)],
        drawAxes: [(chart) => this.#marks.drawSpans(chart)],
        draw: [(chart) => this.#marks.drawLimits(chart), (chart) => this.#logs.place(chart)],
      },
    };
  }

  #line(one, i) {
    const colour = () => getComputedStyle(this.#figure.querySelector(`.swatch.series-${1 + (i % COLOURS)}`) ?? this.#plot).color;
    const fill = this.#shown.series.length === 1 ? () => colour().replace("rgb(", "rgba(").replace(")", ", 0.1)") : undefined;
    return { label: one.label, stroke: colour, fill, width: 1.5, dash: DASHES[i % DASHES.length], spanGaps: false, points: { show: false } };
  }

  // The axis: fixed where the metric says so, else from zero (or the lowest value) to a little over the highest.
  #span(low, high) {
    [low, high] = this.#marks.reach(low, high);
    const { min, max } = this.#figure.dataset;
    const known = low !== null && high !== null;
    const bottom = min !== undefined ? Math.min(Number(min), known ? low : Number(min)) : known ? low - (high - low || Math.abs(low) || 1) * 0.1 : 0;
    const top = max !== undefined ? Math.max(Number(max), known ? high : 0) : known ? high + (high - bottom || 1) * 0.1 : 1;
    return [bottom, top > bottom ? top : bottom + 1];
  }

  #size() {
    return { width: Math.max(this.#plot.clientWidth, 80), height: Math.max(this.#plot.clientHeight, 60) };
  }

  #resize() {
    const { width, height } = this.#size();
    if (this.#chart && (this.#chart.width !== width || this.#chart.height !== height)) this.#chart.setSize({ width, height });
  }

  #select(chart) {
    if (chart.select.width < 8) return;
    const from = chart.posToVal(chart.select.left, "x");
    const to = chart.posToVal(chart.select.left + chart.select.width, "x");
    chart.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    this.#events.zoom(from, to);
  }

  // --- Reading values ---

  #follow() {
    const row = this.#chart?.cursor.idx ?? null;
    if (row === this.#cursor) return;
    this.#cursor = row;
    this.#showValues();
  }

  #walk(event) {
    if (!this.#chart || event.target !== this.#plot || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter" && this.#cursor !== null) return this.#offerLogs(true);
    const last = this.#chart.data[0].length - 1;
    const from = this.#chart.cursor.idx ?? last + 1;
    const far = event.shiftKey ? 10 : 1;
    const target = { ArrowLeft: from - far, ArrowRight: from + far, Home: 0, End: last }[event.key];
    if (target === undefined || last < 0) return;
    event.preventDefault();
    const row = Math.max(0, Math.min(last, target));
    this.#chart.setCursor({ left: this.#chart.valToPos(this.#chart.data[0][row], "x"), top: 0 });
    this.#figure.querySelector(".reading").textContent = this.#reading(row);
  }

  #offerLogs(focus = false) {
    if (!this.#chart || this.#cursor === null) return;
    const [from, to] = this.#events.range();
    this.#logs.offer(this.#chart.data[0][this.#cursor], to - from, this.#chart);
    if (focus) this.#logs.focus();
  }

  #reading(row) {
    const values = this.#shown.series.map((one, i) => `${one.label} ${this.#say(this.#shown.columns[i + 1][row], one)}`);
    return `${EXACT.format(this.#shown.columns[0][row])}: ${[...values, ...this.#marks.at(this.#shown.columns[0][row])].join(", ")}`;
  }

  // --- Legend, summary and table ---

  #showLegend() {
    const legend = this.#figure.querySelector(".legend");
    const labels = this.#shown.series.map((one) => one.label);
    legend.classList.toggle("is-single", labels.length === 1);
    if ([...legend.querySelectorAll('[data-label]')].map((item) => item.dataset.label).join("\n") !== labels.join("\n")) {
      legend.replaceChildren(...labels.map((label, i) => legendItem(label, i)));
      this.#chart?.redraw(); // the colours are those of the legend
    }
    this.#marks.showIn(legend);
    this.#showValues();
  }

  // One series has room for its extremes.
  #showStats(text) {
    const legend = this.#figure.querySelector(".legend");
    const stats = legend.querySelector(".stats") ?? legend.appendChild(document.createElement("li"));
    stats.className = "stats";
    stats.textContent = text;
  }

  #showValues() {
    const { series, columns } = this.#shown;
    const under = this.#cursor !== null && this.#cursor < columns[0].length;
    const rows = series.map((_, i) => (under ? this.#cursor : lastRow(columns[i + 1])));
    this.#figure.classList.toggle("is-read", under);
    const said = under ? [EXACT.format(columns[0][this.#cursor]), ...this.#marks.at(columns[0][this.#cursor])] : [];
    this.#figure.querySelector(".panel-now").textContent = said.join(" · ");
    [...this.#figure.querySelectorAll(".legend [data-label] b")].forEach((value, i) => {
      value.textContent = this.#say(columns[i + 1]?.[rows[i]], series[i]);
    });
  }

  #summarise() {
    const { series, columns } = this.#shown;
    const { wordNow, wordMin, wordAvg, wordMax, wordNone } = this.#words;
    const parts = series.slice(0, MOST_SUMMARISED).map((one, i) => {
      const values = columns[i + 1].filter((value) => value !== null);
      if (!values.length) return `${one.label}: ${wordNone}`;
      const [low, high] = values.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      const said = [[wordNow, values.at(-1)], [wordMin, low], [wordAvg, mean], [wordMax, high]];
      if (series.length === 1) this.#showStats(said.slice(1).map(([word, value]) => `${word} ${this.#say(value, one)}`).join(" · "));
      return `${one.label}: ${said.map(([word, value]) => `${word} ${this.#say(value, one)}`).join(", ")}`;
    });
    this.#figure.querySelector(".says").textContent = [...parts, ...this.#marks.said()].join(". ") || wordNone;
  }

  #showTable() {
    if (!this.#details.open) return;
    const { series, columns } = this.#shown;
    const table = document.createElement("table");
    const head = table.createTHead().insertRow();
    for (const word of [this.#words.wordTime, ...series.map((one) => one.label)]) {
      const cell = document.createElement("th");
      cell.scope = "col";
      cell.textContent = word;
      head.append(cell);
    }
    const body = table.createTBody();
    for (let row = columns[0].length - 1; row >= 0 && body.rows.length < TABLE_ROWS; row--) {
      if (columns.slice(1).every((column) => column[row] === null)) continue;
      const line = body.insertRow();
      line.dataset.at = columns[0][row];
      line.insertCell().textContent = fullTime(columns[0][row]);
      series.forEach((one, i) => (line.insertCell().textContent = this.#say(columns[i + 1][row], one)));
    }
    this.#figure.querySelector(".numbers-scroll").replaceChildren(table);
  }
}

function lastRow(column) {
  return column.findLastIndex((value) => value !== null);
}

function legendItem(label, i) {
  const item = document.createElement("li");
  item.dataset.label = label;
  const swatch = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  swatch.setAttribute("class", `swatch series-${1 + (i % COLOURS)}`);
  swatch.setAttribute("viewBox", "0 0 18 4");
  swatch.setAttribute("aria-hidden", "true");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("d", "M0 2h18");
  line.setAttribute("stroke-dasharray", DASHES[i % DASHES.length].join(" "));
  swatch.append(line);
  const name = document.createElement("span");
  name.textContent = label;
  name.title = label;
  item.append(swatch, name, document.createElement("b"));
  return item;
}
