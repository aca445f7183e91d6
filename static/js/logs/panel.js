// The panel of logs: its list, what is new, the counts, and the ways from one filter to another. On its own page a filter
// is an address to go to; on a server's page the panel is fetched again with it.

import { endless, fetched } from "../endless.js";
import { TimeRange } from "../range.js";
import { localise } from "../time.js";
import { Chart } from "./chart.js";
import { Choices } from "./choices.js";
import { Details } from "./details.js";
import { listenToKeys } from "./keys.js";
import { after } from "./place.js";
import { Tail } from "./tail.js";

const COUNTS_MS = 10_000;
const SOON_MS = 1_000;
const TIMES_FAILED = 2; // one answer that is missed is nobody's business

export class Panel {
  #stop = new AbortController();
  #countsTimer = 0;
  #countsAt = 0;
  #failures = 0;
  #scroller;
  #tail = null;

  constructor(root) {
    this.root = root;
    this.#scroller = document.getElementById("log-rows");
    this.form = document.getElementById("log-filters");
    new TimeRange(this.form, (parameters) => this.show(parameters));
    new Choices(this);
    this.chart = new Chart(this);
    this.#listen();
    if (this.#scroller) this.#startList();
  }

  get isFolded() {
    return this.root.dataset.fold !== undefined;
  }

  get signal() {
    return this.#stop.signal;
  }

  #startList() {
    const { dataset } = this.root;
    const isBack = history.state?.endless !== undefined || history.state?.logLine;
    localise(this.#scroller);
    this.list = endless(this.#scroller, { here: (page, row) => this.#addressOf(row) });
    this.details = new Details(this);
    if (dataset.at && !isBack) this.#mark(dataset.at);
    if (history.state?.logLine) this.details.comeBack(history.state.logLine);
    if (dataset.open !== undefined) {
      this.#tail = new Tail(this, this.list, { cursor: dataset.cursor, isStart: dataset.start !== undefined });
    }
    listenToKeys(this);
    this.#loadCounts();
  }

  stop() {
    this.#stop.abort();
    this.#tail?.stop();
    clearTimeout(this.#countsTimer);
  }

  // --- Addresses ---

  /** That of a fragment of lines of this filter. */
  lines = (parts) => {
    const query = new URLSearchParams(this.root.dataset.query);
    for (const [name, value] of Object.entries(parts)) query.set(name, value);
    return `${this.root.dataset.lines}?${query}`;
  };

  #fragment(name) {
    return `${this.root.dataset[name]}?${this.root.dataset.query}`;
  }

  // The page from this line on; of a list that follows, the page as it is.
  #addressOf(row) {
    if (this.root.dataset.panel) return null;
    const query = new URLSearchParams(this.root.dataset.query);
    if (!this.#tail?.isFollowing && row?.dataset.position) query.set("older", after(row.dataset.position));
    return `?${query}`;
  }

  /** Show the lines of another filter. */
  show(parameters) {
    const query = new URLSearchParams(parameters);
    if (this.root.dataset.panel) this.#showHere(query);
    else location.assign(`?${query}`);
  }

  async #showHere(query) {
    this.root.setAttribute("aria-busy", "true");
    try {
      const fresh = await fetched(`${this.root.dataset.panel}?${query}`);
      const focused = document.activeElement?.id;
      this.root.replaceWith(fresh);
      localise(fresh);
      htmx.process(fresh);
      if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
      document.dispatchEvent(new CustomEvent("logs:shown"));
    } catch {
      this.root.removeAttribute("aria-busy");
      this.toast("error", this.root.dataset.wordUnread);
    }
  }

  // --- What happens ---

  #listen() {
    const { signal } = this.#stop;
    this.root.addEventListener("click", (event) => this.#onClick(event), { signal });
    document.addEventListener("live:swapped", ({ detail }) => detail.swapped.has("logs-cursor") && this.#tail?.wake(), { signal });
    for (const name of ["live:epoch", "live:refresh", "visibilitychange"]) {
      document.addEventListener(name, () => this.#tail?.wake(), { signal });
    }
    document.addEventListener("selectionchange", () => this.reading(), { signal });
  }

  #onClick(event) {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
    const link = event.target.closest("a[data-filter]");
    if (link && this.root.dataset.panel) {
      event.preventDefault();
      this.show(new URL(link.href).search);
    }
    if (event.target.closest("#log-live")) this.toggle();
    if (event.target.closest("#log-new")) this.#toNewest();
  }

  toggle() {
    this.#tail?.toggle();
  }

  #toNewest() {
    this.#tail.follow();
    this.#scroller.focus({ preventScroll: true });
  }

  /** Somebody has begun, or ceased, to read one of the lines. */
  reading() {
    const selection = getSelection();
    const isSelecting = !selection.isCollapsed && this.#scroller?.contains(selection.anchorNode);
    this.#tail?.read(isSelecting || this.#scroller?.querySelector(".log-details") !== null);
  }

  #mark(position) {
    const line = document.getElementById(`line-${position}`);
    if (!line) return;
    line.classList.add("is-at");
    const box = line.getBoundingClientRect();
    const view = this.list.view();
    this.list.moveBy(box.top - view.top - (view.height - box.height) / 2);
    line.querySelector(".log-open").focus({ preventScroll: true });
  }

  // --- The counts ---

  /** Lines came: they are counted again, by and by. */
  changed() {
    if (this.#countsTimer) return;
    const wait = Math.max(SOON_MS, this.#countsAt + COUNTS_MS - Date.now());
    this.#countsTimer = setTimeout(() => this.#loadCounts(), wait);
  }

  async #loadCounts() {
    this.#countsAt = Date.now();
    const fresh = await fetched(this.#fragment("counts")).catch(() => null);
    this.#countsTimer = 0;
    const old = document.getElementById("log-counts");
    if (!fresh || !old || this.chart.isBusy) return;
    localise(fresh);
    Idiomorph.morph(old, fresh, { morphStyle: "outerHTML" });
    this.chart.renew();
  }

  // --- What the tail says ---

  showState(isFollowing, isAway, unseen) {
    const [button, above] = [document.getElementById("log-live"), document.getElementById("log-new")];
    const words = this.root.dataset;
    button.hidden = false;
    button.setAttribute("aria-pressed", String(isFollowing));
    for (const word of button.querySelectorAll("[data-when]")) word.hidden = (word.dataset.when === "following") !== isFollowing;
    above.hidden = !isAway;
    const number = unseen.toLocaleString(document.documentElement.lang);
    const said = unseen > 1 ? words.wordNew.replace("%s", number) : unseen ? words.wordNewOne : words.wordNewest;
    const text = above.querySelector("span");
    if (text.textContent !== said) text.textContent = said;
  }

  /** `rate` lines a second came; 0: the screen keeps up. */
  sayFast(rate) {
    const note = document.getElementById("log-fast");
    note.hidden = !rate;
    if (rate) note.querySelector("span").textContent = this.root.dataset.wordFast.replace("%s", rate.toLocaleString(document.documentElement.lang));
  }

  complain(isFailing) {
    this.#failures = isFailing ? this.#failures + 1 : 0;
    if (this.#failures === TIMES_FAILED) this.toast("warning", this.root.dataset.wordFailed);
  }

  toast(kind, text) {
    document.dispatchEvent(new CustomEvent("toast", { detail: { kind, text, brief: kind === "success" } }));
  }

  /** There are lines now. */
  forgetEmpty(hasLines) {
    if (hasLines) document.getElementById("log-empty")?.remove();
  }
}
