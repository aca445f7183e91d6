// One WebSocket that is always either open or on its way back.

const RETRY_S = [1, 3, 9, 27, 81];
const CROWDED_S = 60; // a person has too many of them: at the least this long until the next try
const SIGNED_OUT_CHECK_MS = 2_000;
const SILENT_MS = 25_000; // the server beats every 10 s: this long without a word is a dead line
const OPENING_MS = 10_000;
const CROWDED = 4429;
export const SIGNED_OUT = 4401;

/**
 * Events: "message" with {detail: text}, "closed" with {detail: {code, retryInMs}}; `retryInMs` is null when only
 * somebody who comes back brings another try.
 */
export class Socket extends EventTarget {
  isOpen = false; // something has been heard
  retryAt = null; // epoch ms
  closedWith = 0;
  hadWord = false; // since this page was last signed out, by whatever way

  #makeUrl;
  #socket = null;
  #failures = 0;
  #notBefore = 0;
  #startedAt = 0;
  #heardAt = 0;
  #retryTimer = 0;

  /** `makeUrl` is asked before each attempt: what to watch is in the address. */
  constructor(makeUrl) {
    super();
    this.#makeUrl = makeUrl;
    setInterval(() => this.#watch(), 1_000);
  }

  get isSignedOut() {
    return this.closedWith === SIGNED_OUT;
  }

  get isCrowded() {
    return this.closedWith === CROWDED;
  }

  /** Connect unless connected or at it; an attempt that waits for its time does not wait any longer. */
  retryNow() {
    this.#watch();
    if (!this.#socket && Date.now() >= this.#notBefore) this.open();
  }

  /** A new attempt, also when one hangs. */
  open() {
    this.drop();
    this.#startedAt = Date.now();
    const socket = (this.#socket = new WebSocket(this.#makeUrl()));
    // A socket that was given up may still speak, minutes later: it is not listened to.
    const ifMine = (listener) => (event) => socket === this.#socket && listener(event);
    socket.addEventListener("message", ifMine((event) => this.#hear(event.data)));
    socket.addEventListener("close", ifMine((event) => this.fail(event.code)));
  }

  /** False when there is no open socket; nothing is queued, as the address of the next attempt says it all. */
  send(message) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  /** Close without a word, and do not come back by itself. */
  drop() {
    const socket = this.#socket;
    this.#socket = null;
    this.isOpen = false;
    clearTimeout(this.#retryTimer);
    this.retryAt = null;
    socket?.close();
  }

  /** What is open is of no use any more. */
  fail(code) {
    this.drop();
    this.closedWith = code;
    const retryInMs = this.isSignedOut ? this.#delayAfterSignOut() : this.#delay();
    if (retryInMs !== null) {
      this.retryAt = Date.now() + retryInMs;
      this.#retryTimer = setTimeout(() => this.open(), retryInMs);
    }
    this.dispatchEvent(new CustomEvent("closed", { detail: { code, retryInMs } }));
  }

  #hear(text) {
    this.#heardAt = Date.now();
    this.#failures = 0;
    this.closedWith = 0;
    this.hadWord = this.isOpen = true;
    this.dispatchEvent(new CustomEvent("message", { detail: text }));
  }

  #delay() {
    const seconds = RETRY_S[Math.min(this.#failures++, RETRY_S.length - 1)];
    const delay = seconds * 1000 * (0.5 + Math.random()); // spread: a restart closes everybody's socket at once
    if (!this.isCrowded) return delay;
    this.#notBefore = Date.now() + CROWDED_S * 1000;
    return Math.max(delay, CROWDED_S * 1000);
  }

  // A changed password gives the browser a new session: one look whether this page is really signed out.
  #delayAfterSignOut() {
    const delay = this.hadWord ? SIGNED_OUT_CHECK_MS : null;
    this.hadWord = false;
    return delay;
  }

  #watch() {
    if (!this.#socket) return;
    const { isOpen } = this;
    if (Date.now() - (isOpen ? this.#heardAt : this.#startedAt) <= (isOpen ? SILENT_MS : OPENING_MS)) return;
    this.fail(0);
    if (isOpen) this.open();
  }
}
