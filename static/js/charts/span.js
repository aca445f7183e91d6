// The time that the charts show: a range up to now, which slides, or a fixed one that a link asks for.
// `word` is the range's, `asked` what the portal is asked for, `start()` and `end` are epoch ms; `fixed` is [from, to] or null.

import { serverNow } from "../time.js";

export function slidingSpan(word, rangeMs) {
  return { word, asked: { range: word }, start: () => serverNow() - rangeMs, end: Infinity, fixed: null };
}

export function fixedSpan(from, to) {
  return { word: "", asked: { from: Math.floor(from), to: Math.ceil(to) }, start: () => from, end: to, fixed: [from, to] };
}

/** [from, to] of an address, epoch ms, or null. */
export function timesOf(search) {
  const query = new URLSearchParams(search);
  const [from, to] = ["from", "to"].map((name) => Date.parse(query.get(name) ?? ""));
  return from < to ? [from, to] : null;
}

/** The part of an address that says [from, to]. */
export function saying([from, to]) {
  return new URLSearchParams({ from: new Date(from).toISOString(), to: new Date(to).toISOString() });
}
