// How frames come to this page: by the socket, and from its first failure until it is back by what covers for it.

import { Cover, addressOf } from "./cover.js";
import { socketPace } from "./pace.js";
import { socketAddress } from "./place.js";
import { SIGNED_OUT, Socket } from "./socket.js";

const PATH = "/ws/live/";
const LONGEST_ADDRESS = 4_000; // of the socket: what does not fit is asked for once it is open
const COVER_AFTER_MS = 4_000; // of an attempt that gives nothing; some networks swallow sockets without a word
const GRACE_MS = 1_000; // for the cover to begin: a change of the way is no loss
const PING_MS = 15_000;
const PING_HIDDEN_MS = 30_000;

/**
 * Events: "state" whenever `state` or `transport` changes, "message" with {detail: {text, transport}},
 * "closed" with {detail: {code, retryInMs}} for each attempt of the socket that ends.
 *
 * `state`: "connecting" (before the first word), "open" (by whatever `transport`: "socket", "sse", "polling"), "lost",
 * "signed-out". `retryAt`: epoch ms of the socket's next attempt, or null.
 */
export class Connection extends EventTarget {
  state = "connecting";
  transport = "";
  since = Date.now(); // of the state

  #topics;
  #socket;
  #cover;
  #watched = new Set(); // what the open socket was told
  #pace = "";
  #pings = new Map();
  #pingMs = null;
  #pingedAt = 0;
  #coverTimer = 0;
  #graceTimer = 0;

  /** `topics()` is asked for what the page shows: a Set of "name:key". */
  constructor(topics) {
    super();
    this.#topics = topics;
    this.#socket = new Socket(() => this.#makeUrl());
    this.#cover = new Cover(topics);
    this.#listen();
    setInterval(() => this.#ping(), 1_000);
    window.addEventListener("online", () => this.retryNow());
    window.addEventListener("offline", () => this.#socket.fail(0));
    window.addEventListener("pagehide", () => this.#rest());
    window.addEventListener("pageshow", (event) => event.persisted && this.retryNow());
    document.addEventListener("visibilitychange", () => document.hidden || this.retryNow());
    document.addEventListener("live:pace", () => this.adapt());
  }

  get retryAt() {
    return this.#socket.retryAt;
  }

  get isCrowded() {
    return this.#socket.isCrowded;
  }

  get latencyMs() {
    return this.transport === "socket" ? this.#pingMs : this.#cover.latencyMs;
  }

  /** Connect unless connected or at it; nothing waits for its time any longer. */
  retryNow() {
    this.#socket.retryNow();
    this.#cover.retryNow();
    if (!this.#socket.isOpen) this.#coverSoon();
  }

  /** Somebody pressed the button: a new attempt of everything, and they see that something happens. */
  startOver() {
    this.#become("connecting", "");
    this.#cover.stop();
    this.#socket.open();
    this.#coverSoon();
  }

  /** The page shows something else, or is looked at more or less: tell whoever brings the frames. */
  adapt() {
    this.#cover.adapt();
    const now = this.#topics();
    const watch = [...now].filter((topic) => !this.#watched.has(topic));
    const unwatch = [...this.#watched].filter((topic) => !now.has(topic));
    const pace = socketPace();
    const said = { ...(watch.length && { watch }), ...(unwatch.length && { unwatch }), ...(pace !== this.#pace && { pace }) };
    if (!Object.keys(said).length || !this.#socket.send(said)) return null;
    [this.#watched, this.#pace] = [now, pace];
    return said;
  }

  #makeUrl() {
    this.#pace = socketPace();
    const address = addressOf(PATH, this.#topics(), { pace: this.#pace }, LONGEST_ADDRESS);
    this.#watched = new Set(new URLSearchParams(address.split("?")[1]).getAll("topic"));
    return socketAddress(address);
  }

  // --- What comes, and what does not ------------------------------------------------------------------------------

  #listen() {
    this.#socket.addEventListener("message", ({ detail }) => this.#hearSocket(detail));
    this.#socket.addEventListener("closed", ({ detail }) => this.#closed(detail));
    this.#cover.addEventListener("message", ({ detail: { text } }) => this.#hearCover(text));
    this.#cover.addEventListener("works", () => this.#socket.retryNow());
    this.#cover.addEventListener("failed", () => this.#socket.isOpen || this.#become("lost", ""));
    this.#cover.addEventListener("signed-out", () => this.#socket.fail(SIGNED_OUT));
  }

  #hearSocket(text) {
    clearTimeout(this.#coverTimer);
    clearTimeout(this.#graceTimer);
    this.#cover.stop();
    this.#become("open", "socket");
    this.#tell(text);
  }

  #hearCover(text) {
    if (this.#socket.isOpen) return;
    clearTimeout(this.#graceTimer);
    this.#socket.hadWord = true;
    this.#become("open", this.#cover.transport);
    this.#tell(text);
  }

  #tell(text) {
    this.dispatchEvent(new CustomEvent("message", { detail: { text, transport: this.transport } }));
  }

  #closed(detail) {
    this.#pings.clear();
    this.dispatchEvent(new CustomEvent("closed", { detail }));
    if (this.#socket.isSignedOut) {
      this.#cover.stop();
      this.#become("signed-out", "");
    } else if (!navigator.onLine) {
      this.#cover.stop(); // the socket alone keeps trying: on a network of its own a device may be wrong about it
      this.#become("lost", "");
    } else {
      this.#startCover();
    }
  }

  #startCover() {
    clearTimeout(this.#coverTimer);
    this.#cover.start({ mayStream: !this.#socket.isCrowded });
    if (this.state === "signed-out") this.#become("connecting", "");
    if (this.state !== "open" || this.transport !== "socket") return;
    clearTimeout(this.#graceTimer);
    this.#graceTimer = setTimeout(() => this.#cover.transport || this.#become("lost", ""), GRACE_MS);
  }

  #coverSoon() {
    clearTimeout(this.#coverTimer);
    this.#coverTimer = setTimeout(() => this.#socket.isOpen || this.#socket.isSignedOut || this.#startCover(), COVER_AFTER_MS);
  }

  #rest() {
    clearTimeout(this.#coverTimer);
    clearTimeout(this.#graceTimer);
    this.#cover.stop();
    this.#socket.drop();
  }

  // "lost" stays "lost" while attempts are made by themselves: it is not over before something is heard again.
  #become(state, transport) {
    if (state === this.state && transport === this.transport) return;
    if (state !== this.state) this.since = Date.now();
    [this.state, this.transport] = [state, transport];
    if (transport === "socket") this.#pingedAt = 0;
    this.dispatchEvent(new Event("state"));
  }

  // --- How long the way is ----------------------------------------------------------------------------------------

  #ping() {
    const wait = document.hidden ? PING_HIDDEN_MS : PING_MS;
    if (!this.#socket.isOpen || Date.now() - this.#pingedAt < wait) return;
    this.#pingedAt = Date.now();
    const number = Math.floor(Math.random() * 1e9);
    if (this.#socket.send({ ping: number })) this.#pings.set(number, performance.now());
  }

  /** The answer to a ping has come. */
  pong(number) {
    const sentAt = this.#pings.get(number);
    if (sentAt === undefined) return;
    this.#pings.delete(number);
    this.#pingMs = performance.now() - sentAt;
  }
}
