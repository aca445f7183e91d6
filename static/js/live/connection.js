// One WebSocket that is always either open or on its way back.

const RETRY_S = [1, 3, 9, 27, 81];
const RETRY_VISIBLE_S = 10; // somebody is looking: they do not wait out the long ones
const SIGNED_OUT_CHECK_MS = 2_000;
const SILENT_MS = 25_000; // the server beats every 10 s: this long without a word is a dead line
const OPENING_MS = 10_000;
const PING_MS = 15_000;
const SIGNED_OUT = 4401;

/**
 * Events: "state" whenever `state` changes, "message" with {detail: text}, "closed" with {detail: {code, retryInMs}}.
 * States: "connecting" (also before the first word), "open", "lost", "signed-out".
 */
export class Connection extends EventTarget {
  state = "connecting";
  since = Date.now(); // of the state
  latencyMs = null;

  #makeUrl;
  #socket = null;
  #failures = 0;
  #wasOpen = false;
  #startedAt = 0;
  #heardAt = 0;
  #retryTimer = 0;
  #pings = new Map();

  /** `makeUrl` is asked before each attempt: what to watch is in the address. */
  constructor(makeUrl) {
    super();
    this.#makeUrl = makeUrl;
    setInterval(() => this.#watch(), 1_000);
    setInterval(() => this.#ping(), PING_MS);
    window.addEventListener("online", () => this.retryNow());
    window.addEventListener("offline", () => this.#fail(0));
    window.addEventListener("pagehide", () => this.#drop());
    window.addEventListener("pageshow", (event) => event.persisted && this.retryNow());
    document.addEventListener("visibilitychange", () => document.hidden || this.retryNow());
  }

  /** Connect unless connected or at it; an attempt that waits for its time does not wait any longer. */
  retryNow() {
    this.#watch();
    if (!this.#socket) this.#open();
  }

  /** Somebody pressed the button: a new attempt, also when one hangs, and they see that something happens. */
  startOver() {
    this.#become("connecting");
    this.#open();
  }

  /** False when there is no open socket; nothing is queued, as the address of the next attempt says it all. */
  send(message) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  #open() {
    clearTimeout(this.#retryTimer);
    this.#drop();
    this.#startedAt = Date.now();
    const socket = (this.#socket = new WebSocket(this.#makeUrl()));
    // A socket that was given up may still speak, minutes later: it is not listened to.
    const ifMine = (listener) => (event) => socket === this.#socket && listener(event);
    socket.addEventListener("message", ifMine((event) => this.#hear(event.data)));
    socket.addEventListener("close", ifMine((event) => this.#fail(event.code)));
  }

  #hear(text) {
    this.#heardAt = Date.now();
    this.#failures = 0;
    this.#wasOpen = true;
    this.#become("open");
    this.dispatchEvent(new CustomEvent("message", { detail: text }));
  }

  #fail(code) {
    this.#drop();
    clearTimeout(this.#retryTimer);
    const retryInMs = code === SIGNED_OUT ? this.#delayAfterSignOut() : this.#delay();
    if (retryInMs !== null) this.#retryTimer = setTimeout(() => this.#open(), retryInMs);
    this.#become(code === SIGNED_OUT ? "signed-out" : "lost");
    this.dispatchEvent(new CustomEvent("closed", { detail: { code, retryInMs } }));
  }

  #delay() {
    const longest = document.hidden ? Infinity : RETRY_VISIBLE_S;
    const seconds = Math.min(RETRY_S[Math.min(this.#failures++, RETRY_S.length - 1)], longest);
    return seconds * 1000 * (0.5 + Math.random()); // spread: a restart closes everybody's socket at once
  }

  // A changed password gives the browser a new session: one look whether this page is really signed out.
  #delayAfterSignOut() {
    const delay = this.#wasOpen ? SIGNED_OUT_CHECK_MS : null;
    this.#wasOpen = false;
    return delay;
  }

  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    this.#pings.clear();
    socket?.close();
  }

  #watch() {
    if (!this.#socket) return;
    const isOpen = this.state === "open";
    if (Date.now() - (isOpen ? this.#heardAt : this.#startedAt) > (isOpen ? SILENT_MS : OPENING_MS)) {
      this.#fail(0);
      if (isOpen) this.#open();
    }
  }

  #ping() {
    if (document.hidden || this.state !== "open") return;
    const number = Math.floor(Math.random() * 1e9);
    if (this.send({ ping: number })) this.#pings.set(number, performance.now());
  }

  /** The answer to a ping has come. */
  pong(number) {
    const sentAt = this.#pings.get(number);
    if (sentAt === undefined) return;
    this.#pings.delete(number);
    this.latencyMs = performance.now() - sentAt;
  }

  // "lost" stays "lost" while attempts are made by themselves: it is not over before something is heard again.
  #become(state) {
    if (state === this.state) return;
    this.state = state;
    this.since = Date.now();
    if (state === "open") setTimeout(() => this.#ping(), 500);
    this.dispatchEvent(new Event("state"));
  }
}
