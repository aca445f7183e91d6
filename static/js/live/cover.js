// What brings the frames while there is no socket: a stream of events, and while that gives nothing, polling.

import { isHidden, socketPace } from "./pace.js";
import { CREDENTIALS, liveAddress } from "./place.js";
import { Polling } from "./polling.js";
import { SIGNED_OUT } from "./socket.js";
import { Stream } from "./stream.js";

const STREAM = liveAddress("/api/monitoring/stream");
const STATE = liveAddress("/api/monitoring/state");
const LONGEST_ADDRESS = 7_000; // servers take 8 KB
const STREAM_RETRY_S = [10, 30, 90];
const CHANGED_MS = 500; // another set of topics is another stream: not one for each card that is scrolled by
const PING_MS = 15_000;

/**
 * Events: "message" {text}; "works" when something comes (again) and nothing did; "failed" when nothing comes in any way;
 * "signed-out". `transport` is "sse", "polling" or, while nothing has come, "".
 */
export class Cover extends EventTarget {
  transport = "";
  #topics;
  #isOn = false;
  #mayStream = true;
  #stream = new Stream();
  #polling;
  #streamFailures = 0;
  #streamed = ""; // what the stream was asked for
  #couldHold = false;
  #allFailed = false;
  #streamTimer = 0;
  #changeTimer = 0;
  #pingMs = null;

  /** `topics()` is what the page shows. */
  constructor(topics) {
    super();
    this.#topics = topics;
    this.#polling = new Polling(topics, (some) => addressOf(STATE, some));
    this.#stream.addEventListener("message", ({ detail }) => this.#hear("sse", detail));
    this.#stream.addEventListener("failed", ({ detail }) => this.#streamFailed(detail.code));
    this.#polling.addEventListener("message", ({ detail }) => this.#hear("polling", detail));
    this.#polling.addEventListener("failed", ({ detail }) => this.#pollFailed(detail.status));
    setInterval(() => this.#ping(), PING_MS);
  }

  get latencyMs() {
    return this.transport === "polling" ? this.#polling.latencyMs : this.#pingMs || null;
  }

  /** Bring frames until `stop()`. Without `mayStream` (the server counts streams among the sockets) by polling only. */
  start({ mayStream }) {
    if (this.#isOn && this.#mayStream === mayStream) return;
    this.#isOn = true;
    this.#mayStream = mayStream;
    this.retryNow();
  }

  stop() {
    this.#isOn = false;
    this.transport = "";
    this.#allFailed = false;
    this.#streamFailures = 0;
    clearTimeout(this.#streamTimer);
    clearTimeout(this.#changeTimer);
    this.#stream.close();
    this.#polling.stop();
  }

  /** Whatever waits for its time does not wait any longer. */
  retryNow() {
    if (!this.#isOn) return;
    if (this.transport === "sse" && this.#stream.isOn) return;
    this.#openStream();
    if (this.#polling.isOn) this.#polling.start();
  }

  /** The page shows something else, or is looked at more or less. */
  adapt() {
    if (!this.#isOn) return;
    this.#polling.adapt();
    if (this.#mayHold !== this.#couldHold) this.#openStream();
    if (!this.#stream.isOn || this.#streamed === keyOf(this.#topics())) return;
    clearTimeout(this.#changeTimer);
    this.#changeTimer = setTimeout(() => this.#openStream(), CHANGED_MS);
  }

  // A browser has six connections to a server of HTTP/1.1: hidden pages do not hold one of them.
  get #mayHold() {
    return this.#mayStream && !isHidden();
  }

  #openStream() {
    clearTimeout(this.#streamTimer);
    clearTimeout(this.#changeTimer);
    this.#couldHold = this.#mayHold;
    if (this.#couldHold) {
      const topics = this.#topics();
      this.#streamed = keyOf(topics);
      this.#stream.open(addressOf(STREAM, topics, { format: "html", pace: socketPace() }));
    } else {
      this.#stream.close();
      if (!this.#polling.isOn) this.#polling.start();
    }
  }

  #streamFailed(code) {
    if (code === SIGNED_OUT) {
      this.#signedOut();
      return;
    }
    if (!this.#polling.isOn) this.#polling.start();
    this.#planStream();
  }

  #planStream() {
    const seconds = STREAM_RETRY_S[Math.min(this.#streamFailures++, STREAM_RETRY_S.length - 1)];
    this.#streamTimer = setTimeout(() => this.#openStream(), seconds * 1000 * (0.5 + Math.random()));
  }

  #pollFailed(status) {
    if (status === 401) {
      this.#signedOut();
      return;
    }
    this.transport = "";
    this.#allFailed = true;
    this.dispatchEvent(new Event("failed"));
  }

  #signedOut() {
    this.stop();
    this.dispatchEvent(new Event("signed-out"));
  }

  #hear(transport, text) {
    const began = this.transport === "";
    this.transport = transport;
    if (transport === "sse") this.#streams();
    else if (this.#allFailed) this.#retryStream();
    this.#allFailed = false;
    this.dispatchEvent(new CustomEvent("message", { detail: { text } }));
    if (began) this.dispatchEvent(new Event("works"));
  }

  #streams() {
    this.#streamFailures = 0;
    this.#polling.stop();
    if (this.#pingMs !== null) return;
    this.#pingMs = NaN; // asked
    this.#ping();
  }

  // Nothing came through, and now something does.
  #retryStream() {
    this.#streamFailures = 0;
    if (!this.#stream.isOn) this.#openStream();
  }

  // Nothing that a stream brings says how long the way is.
  async #ping() {
    if (this.transport !== "sse" || document.hidden) return;
    const token = document.querySelector("input[name=csrfmiddlewaretoken]")?.value ?? "";
    const headers = { "Content-Type": "application/json", "X-CSRFToken": token };
    const began = performance.now();
    const answer = await fetch(STREAM, { method: "POST", credentials: CREDENTIALS, headers, body: '{"type": "ping"}' }).catch(() => null);
    if (answer?.ok) this.#pingMs = performance.now() - began;
  }
}

function keyOf(topics) {
  return [socketPace(), ...[...topics].sort()].join(" ");
}

/** `path?lang=…&topic=…` with as many of the topics as an address has room for. */
export function addressOf(path, topics, more = {}, longest = LONGEST_ADDRESS) {
  const query = new URLSearchParams({ ...more, lang: document.documentElement.lang });
  for (const topic of topics) {
    if (query.toString().length + topic.length > longest) break;
    query.append("topic", topic);
  }
  return `${path}?${query}`;
}
