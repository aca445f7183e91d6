// The samples of one server that the charts show: fetched once for a span of time, then only what came after.

import { serverNow } from "../time.js";

const OVERLAP_MS = 20_000; // sources have clocks of their own: what is a little older than the newest may still come
const LONGEST_TAIL = 60; // rows at full detail behind a thinned range, before it is thinned anew
const TIMEOUT_MS = 15_000;
const GAP_AFTER = 2.5;

export class Samples {
  at = []; // ms, ascending
  series = new Map(); // key → {metric, label, unit, values aligned with `at`}
  #step = 0; // length of the thinned rows' buckets; 0 = all are samples as they came
  #thinnedUntil = 0;
  #address;
  #metrics;
  #span = null;
  #readAt = 0; // when what is here was asked for
  #points;
  #turn = 0; // of the newest request: what an older one brings is no longer wanted
  #loading = 0;

  constructor(address, metrics) {
    this.#address = address;
    this.#metrics = metrics;
  }

  /** Everything of `span` (see span.js), thinned to about `points` rows. False when a newer load overtook it. */
  async load(span, points) {
    const turn = ++this.#turn;
    const readAt = serverNow();
    this.#loading++;
    const answer = await this.#fetch({ ...span.asked, points }).finally(() => this.#loading--);
    if (turn !== this.#turn) return false;
    [this.#span, this.#readAt, this.#points] = [span, readAt, points];
    this.at = [];
    this.series = new Map();
    this.#step = answer.step;
    this.#append(answer.step ? wholeBuckets(answer) : answer);
    this.#thinnedUntil = answer.step && this.at.length ? this.at.at(-1) + answer.step / 2 : 0;
    return answer.step && !this.#isComplete() ? this.#tail() : true;
  }

  /** What came after the newest row. Throws when it cannot be had; everything known stays. */
  async more() {
    if (!this.#span || this.#loading || this.#isComplete()) return false;
    if (this.#step && this.#tailLength() > LONGEST_TAIL) return this.load(this.#span, this.#points);
    return this.#tail();
  }

  // Nothing comes any more into a time that is over.
  #isComplete() {
    return this.#readAt > this.#span.end + OVERLAP_MS;
  }

  async #tail() {
    const newest = this.at.at(-1) ?? this.#span.start();
    const turn = ++this.#turn;
    const readAt = serverNow();
    const after = Math.floor(Math.max(this.#thinnedUntil - 1, newest - OVERLAP_MS, 0));
    const answer = await this.#fetch({ after });
    if (turn !== this.#turn) return false;
    this.#keep((at) => at <= after || at < this.#thinnedUntil);
    this.#readAt = readAt;
    this.#append(answer);
    const oldest = this.#span.start() - this.#step;
    this.#keep((at) => at >= oldest && at < this.#span.end);
    return true;
  }

  /** [instants, values of each series…] of these metrics for one chart; a row of nulls stands in each gap. */
  columns(metrics) {
    const wanted = [...this.series.values()].filter((one) => metrics.includes(one.metric));
    const rows = [];
    this.at.forEach((_, row) => wanted.some((one) => one.values[row] !== null) && rows.push(row));
    const usual = median(differences(rows.map((row) => this.at[row]).filter((at) => at >= this.#thinnedUntil)));
    const columns = [[], ...wanted.map(() => [])];
    rows.forEach((row, place) => {
      const at = this.at[row];
      const before = place ? this.at[rows[place - 1]] : at;
      if (at - before > this.#longest(before, usual)) columns.forEach((column, i) => column.push(i ? null : before + 1));
      columns.forEach((column, i) => column.push(i ? wanted[i - 1].values[row] : at));
    });
    return { series: wanted, columns };
  }

  // The longest distance of two rows that is no gap.
  #longest(before, usual) {
    if (before < this.#thinnedUntil) return 1.5 * this.#step;
    return usual ? GAP_AFTER * usual : Infinity;
  }

  #tailLength() {
    return this.at.filter((at) => at >= this.#thinnedUntil).length;
  }

  #keep(test) {
    const rows = [];
    this.at.forEach((at, row) => test(at) && rows.push(row));
    if (rows.length === this.at.length) return;
    this.at = rows.map((row) => this.at[row]);
    for (const one of this.series.values()) one.values = rows.map((row) => one.values[row]);
  }

  #append({ at, series }) {
    const known = this.at.length;
    this.at.push(...at);
    for (const { metric, labels, label, unit, values } of series) {
      const key = `${metric} ${JSON.stringify(labels)}`;
      const one = this.series.get(key) ?? { metric, label, unit, values: new Array(known).fill(null) };
      this.series.set(key, one);
      one.values.push(...values);
    }
    for (const one of this.series.values()) while (one.values.length < this.at.length) one.values.push(null);
  }

  async #fetch(asked) {
    const query = new URLSearchParams({ ...asked, metrics: this.#metrics.join(",") });
    const answer = await fetch(`${this.#address}?${query}`, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (!answer.ok) throw Object.assign(new Error(`${answer.status}`), { status: answer.status });
    return answer.json();
  }
}

// Buckets that are over, drawn in their middle: the last one still fills.
function wholeBuckets({ at, step, series }) {
  const now = serverNow();
  let count = at.length;
  while (count && at[count - 1] + step > now) count--;
  return {
    at: at.slice(0, count).map((start) => start + step / 2),
    series: series.map((one) => ({ ...one, values: one.values.slice(0, count) })),
  };
}

function differences(numbers) {
  return numbers.slice(1).map((number, i) => number - numbers[i]);
}

function median(numbers) {
  return numbers.length ? numbers.sort((a, b) => a - b)[numbers.length >> 1] : 0;
}
