// The same frames by asking, each topic at its own pace, where neither a socket nor a stream comes through.

import { pollSeconds } from "./pace.js";
import { CREDENTIALS } from "./place.js";

const TIMEOUT_MS = 8_000;
const FAILED_S = 5;
const TOGETHER_MS = 1_500; // what is due this soon is asked for at once
const WHOLE_EVERY_MS = 15_000; // "unchanged" leaves the stamps as they are: ages would grow without reason

/** Events: "message" with {detail: text} ("" when nothing has changed), "failed" with {detail: {status}}, 0 = no answer. */
export class Polling extends EventTarget {
  latencyMs = null;
  #topics;
  #makeAddress;
  #asked = new Map(); // topic → {at, spread, waitS}: when it was asked for, and how long it waits unless its pace says
  #known = new Map(); // address → {tag, at} of its last whole answer
  #timer = 0;
  #asking = null;
  #isOn = false;

  constructor(topics, makeAddress) {
    super();
    this.#topics = topics;
    this.#makeAddress = makeAddress;
  }

  get isOn() {
    return this.#isOn;
  }

  /** Ask for everything now, and again in time. */
  start() {
    this.#isOn = true;
    this.#asked.clear();
    this.#plan();
  }

  stop() {
    this.#isOn = false;
    clearTimeout(this.#timer);
    this.#asking?.abort();
    this.#asking = null;
  }

  /** The page shows something else, or the pace is another: what has waited long enough by now is asked for at once. */
  adapt() {
    if (this.#isOn) this.#plan();
  }

  #plan() {
    clearTimeout(this.#timer);
    if (this.#asking) return; // the end of that request plans
    const next = Math.min(...[...this.#topics()].map((topic) => this.#dueAt(topic)));
    if (next < Infinity) this.#timer = setTimeout(() => this.#ask(), Math.max(0, next - Date.now()));
  }

  #dueAt(topic) {
    const asked = this.#asked.get(topic);
    return asked ? asked.at + asked.spread * 1000 * (asked.waitS ?? pollSeconds(topic)) : 0;
  }

  async #ask() {
    const soon = Date.now() + TOGETHER_MS;
    const topics = [...this.#topics()].filter((topic) => this.#dueAt(topic) <= soon);
    const asking = (this.#asking = new AbortController());
    const answer = await this.#fetch(this.#makeAddress(topics), asking.signal).catch(() => ({ status: 0 }));
    if (asking !== this.#asking) return;
    this.#asking = null;
    const isGood = answer.status === 200 || answer.status === 304;
    this.#postpone(topics, isGood ? null : answer.retryAfterS ?? FAILED_S);
    this.#plan();
    const [name, detail] = isGood ? ["message", answer.text] : ["failed", { status: answer.status }];
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  #postpone(topics, waitS) {
    const spread = waitS === null ? 0.9 + 0.2 * Math.random() : 0.5 + Math.random();
    this.#asked = new Map([...this.#topics()].flatMap((topic) => (this.#asked.has(topic) ? [[topic, this.#asked.get(topic)]] : [])));
    for (const topic of topics) this.#asked.set(topic, { at: Date.now(), spread, waitS });
  }

  async #fetch(address, signal) {
    const known = this.#known.get(address);
    const headers = known && Date.now() - known.at < WHOLE_EVERY_MS ? { "If-None-Match": known.tag } : {};
    const began = performance.now();
    // "no-store": else the browser's cache turns a 304 into the former answer, beat and all.
    const answer = await fetch(address, {
      headers,
      cache: "no-store",
      credentials: CREDENTIALS,
      signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
    });
    this.latencyMs = performance.now() - began;
    const text = answer.status === 200 ? await answer.text() : "";
    const tag = answer.headers.get("ETag");
    if (answer.status === 200 && tag) this.#known = new Map([...this.#known, [address, { tag, at: Date.now() }]].slice(-8));
    return { status: answer.status, text, retryAfterS: Number(answer.headers.get("Retry-After")) || undefined };
  }
}
