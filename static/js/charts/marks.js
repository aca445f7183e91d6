// Lines at limits and bands of times on one chart. Who delivers them writes, anywhere on the page,
// <div data-chart-limits hidden><script type="application/json">{"limits": […], "spans": […]}</script></div>:
// a limit is {metric, label, value, level, text}, a span {metric, start, end, level, text} in epoch ms, end null = goes on.
// `level` is critical, warning or info: the colour is that of the token, the dash tells them apart without it.

import { serverNow } from "../time.js";

const DASHES = { critical: [8, 4], warning: [3, 3], info: [1, 4] };
const SVG = "http://www.w3.org/2000/svg";
const NEAR = 0.25; // of the range of the values: a limit this much beyond it is still shown
const BAND_PX = 4;

/** What the page says of limits and spans: {limits, spans}. */
export function readDrawn(root = document) {
  const found = [...root.querySelectorAll("[data-chart-limits] > script")].map((script) => JSON.parse(script.textContent));
  return { limits: found.flatMap((one) => one.limits), spans: found.flatMap((one) => one.spans) };
}

export class Marks {
  limits = [];
  spans = [];
  #plot;
  #metrics;
  #known = "";

  constructor(plot, metrics) {
    this.#plot = plot;
    this.#metrics = metrics;
  }

  /** Whether anything is different now. */
  take({ limits, spans }) {
    const mine = ({ metric }) => this.#metrics.includes(metric);
    const named = (one) => (this.#metrics.length > 1 ? { ...one, text: `${one.label}: ${one.text}` } : one);
    this.limits = limits.filter(mine).map(named);
    this.spans = spans.filter(mine);
    const known = JSON.stringify([this.limits, this.spans]);
    const changed = known !== this.#known;
    this.#known = known;
    return changed;
  }

  /** [low, high] of the values, stretched to the limits that are near them: a far one must not flatten the line. */
  reach(low, high) {
    if (low === null || high === null) return [low, high];
    const near = NEAR * (high - Math.min(low, 0) || Math.abs(high) || 1);
    const close = this.limits.map(({ value }) => value).filter((value) => value >= low - near && value <= high + near);
    return [Math.min(low, ...close), Math.max(high, ...close)];
  }

  // --- On the canvas ---

  drawLimits(chart) {
    const { ctx, bbox } = chart;
    for (const { value, level } of this.limits) {
      const { min, max } = chart.scales.y;
      if (value < min || value > max) continue;
      const y = Math.round(chart.valToPos(value, "y", true)) + 0.5;
      this.#pen(ctx, level, () => {
        ctx.beginPath();
        ctx.moveTo(bbox.left, y);
        ctx.lineTo(bbox.left + bbox.width, y);
        ctx.stroke();
      });
    }
  }

  drawSpans(chart) {
    const { ctx, bbox } = chart;
    const thickness = BAND_PX * devicePixelRatio;
    for (const { start, end, level } of this.spans) {
      const [from, to] = [start, end ?? serverNow()].map((at) => this.#x(chart, at));
      if (to <= bbox.left || from >= bbox.left + bbox.width) continue;
      const width = Math.max(to - from, 2 * devicePixelRatio);
      this.#pen(ctx, level, () => {
        ctx.globalAlpha = 0.1;
        ctx.fillRect(from, bbox.top, width, bbox.height);
        ctx.globalAlpha = 1;
        ctx.fillRect(from, bbox.top, width, thickness);
        if (from <= bbox.left) return;
        ctx.setLineDash([2 * devicePixelRatio, 2 * devicePixelRatio]);
        ctx.strokeRect(from, bbox.top, 0, bbox.height); // when it fired
      });
    }
  }

  #x(chart, at) {
    const { left, width } = chart.bbox;
    return Math.max(left, Math.min(left + width, chart.valToPos(at, "x", true)));
  }

  #pen(ctx, level, draw) {
    ctx.save();
    ctx.strokeStyle = ctx.fillStyle = this.#ink(level);
    ctx.lineWidth = 1.5 * devicePixelRatio;
    ctx.setLineDash(DASHES[level].map((length) => length * devicePixelRatio));
    draw();
    ctx.restore();
  }

  #ink(level) {
    const inks = this.#plot.parentElement.querySelector(".plot-inks") ?? this.#plot.parentElement.appendChild(inksOf());
    return getComputedStyle(inks.querySelector(`.is-${level}`)).color;
  }

  // --- In words ---

  /** What was going on at that instant. */
  at(ms) {
    return this.spans.filter(({ start, end }) => start <= ms && ms <= (end ?? Infinity)).map(({ text }) => text);
  }

  /** For the summary of the chart. */
  said() {
    return this.limits.map(({ text }) => text);
  }

  showIn(legend) {
    const items = this.limits.map(legendItem);
    legend.querySelectorAll(".mark-of").forEach((item) => item.remove());
    legend.append(...items);
  }
}

function legendItem({ level, text }) {
  const item = document.createElement("li");
  item.className = `mark-of is-${level}`;
  const swatch = document.createElementNS(SVG, "svg");
  swatch.setAttribute("class", "swatch");
  swatch.setAttribute("viewBox", "0 0 18 4");
  swatch.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", "M0 2h18");
  line.setAttribute("stroke-dasharray", DASHES[level].join(" "));
  swatch.append(line);
  const name = document.createElement("span");
  name.textContent = text;
  item.append(swatch, name);
  return item;
}

// The colours of the theme, where a canvas can ask for them.
function inksOf() {
  const inks = document.createElement("div");
  inks.className = "plot-inks";
  inks.append(...Object.keys(DASHES).map((level) => Object.assign(document.createElement("i"), { className: `is-${level}` })));
  return inks;
}
