// The same frames as server-sent events, for networks that let no WebSocket through.

const OPENING_MS = 5_000; // something on the way may keep back what is sent
const SILENT_MS = 25_000;
const ENDED_IN_ORDER = 1000;

/**
 * Events: "message" with {detail: text}, "failed" with {detail: {code}}, 0 when nobody said why. A stream that the
 * server ends in order, after its ten minutes, is opened again at once.
 */
export class Stream extends EventTarget {
  #source = null;
  #address = "";
  #startedAt = 0;
  #heardAt = 0;

  constructor() {
    super();
    setInterval(() => this.#watch(), 1_000);
  }

  get isOn() {
    return this.#source !== null;
  }

  /** What is watched is in the address: another set is another stream. */
  open(address) {
    this.close();
    [this.#address, this.#startedAt, this.#heardAt] = [address, Date.now(), 0];
    const source = (this.#source = new EventSource(address, { withCredentials: true }));
    const ifMine = (listener) => (event) => source === this.#source && listener(event);
    source.addEventListener("frame", ifMine((event) => this.#hear(event.data)));
    source.addEventListener("refused", ifMine((event) => this.#hear(JSON.stringify({ refused: JSON.parse(event.data).topics }))));
    source.addEventListener("end", ifMine((event) => this.#end(JSON.parse(event.data).code)));
    source.addEventListener("error", ifMine(() => this.#fail(0))); // its own retries know nothing of the socket
  }

  close() {
    this.#source?.close();
    this.#source = null;
  }

  #hear(text) {
    this.#heardAt = Date.now();
    this.dispatchEvent(new CustomEvent("message", { detail: text }));
  }

  #end(code) {
    if (code === ENDED_IN_ORDER && this.#heardAt) this.open(this.#address);
    else this.#fail(code);
  }

  #fail(code) {
    this.close();
    this.dispatchEvent(new CustomEvent("failed", { detail: { code } }));
  }

  #watch() {
    if (!this.#source) return;
    const [since, limit] = this.#heardAt ? [this.#heardAt, SILENT_MS] : [this.#startedAt, OPENING_MS];
    if (Date.now() - since > limit) this.#fail(0);
  }
}
