// Lists without end: pages are fetched as they come near, in both directions, and the document stays small.
//
//   <div id="rows" data-endless tabindex="0">             scrolls; or data-endless="window": the window does
//     … <tbody data-page data-here="?…" data-next="?…" data-previous="?…">…</tbody> …
//   </div>
//   <div id="rows-status" data-loading="…" data-failed="…" data-end="…"><span></span><button hidden>…</button></div>
//
// A page is an element of any kind, beside the other pages; its children are the rows. data-next and data-previous are
// the addresses of the pages after and before it, by keyset, empty where there is none; data-here is the address that
// shows the list from this page on. GET of such an address with HX-Request answers the page's element alone; one without
// rows hands on its own address of that side, or says by "" that there is nothing more. After a page with data-halt the
// list goes on only when [data-go-on] in it is pressed.
//
// - Beyond ten pages only the first five, the last five and those in view are in the document; the others are empty
//   elements of the same height, and are filled again, without a request, before they are scrolled into view. Their
//   markup is in blobs, outside of the page's heap. A page that has the focus or a selection stays.
// - What is put in or taken out above does not move what is being read: `keep` is how others change the pages.
// - The address follows the row at the top, and how far it is scrolled: reload and Back come to the same row.
// - While a page is fetched the list is aria-busy. A failure is said in `#<id>-status`, with a button to try again.
// - Without JavaScript the links in [data-endless-pager] lead from page to page; with it they are hidden.
//
// import { endless } from "./endless.js";
// const list = endless(element);                       list.refresh() after a change from outside
// endless(element, { here: (page, row) => address })   when each row has an address: of `row`, null for none
// Events of `element`: "endless:joined" {page, direction}, "endless:filled" {page}, "endless:scrolled".

import { localise } from "./time.js";

const KEPT = 5; // at each end
const AHEAD = 1.5; // heights of the view that are ready below and above it
const SETTLED_MS = 250;

export function endless(scroller, options = {}) {
  const list = new Endless(scroller, options);
  list.start();
  return list;
}

class Endless {
  constructor(scroller, { here = null }) {
    this.scroller = scroller;
    this.here = here;
    this.inWindow = scroller.dataset.endless === "window";
    this.status = document.getElementById(`${scroller.id}-status`);
    this.away = new Map(); // page → its markup, as a blob
    this.loading = null; // the promise of the page that is being fetched
    this.failed = null; // the direction in which the last request failed
    this.frame = 0;
    this.settled = 0;
  }

  start() {
    for (const pager of document.querySelectorAll("[data-endless-pager]")) pager.hidden = true;
    this.status?.querySelector("button").addEventListener("click", () => this.retry());
    this.scroller.addEventListener("click", (event) => this.goOn(event));
    (this.inWindow ? window : this.scroller).addEventListener("scroll", () => this.onScroll(), { passive: true });
    addEventListener("resize", () => this.refresh());
    this.moveBy(history.state?.endless);
    this.refresh();
  }

  get pages() {
    return [...this.scroller.querySelectorAll("[data-page]")];
  }

  refresh() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.look());
  }

  onScroll() {
    this.refresh();
    clearTimeout(this.settled);
    this.settled = setTimeout(() => this.remember(), SETTLED_MS);
    this.tell("scrolled");
  }

  tell(name, detail = {}) {
    this.scroller.dispatchEvent(new CustomEvent(`endless:${name}`, { detail }));
  }

  // --- What is in view ---

  view() {
    if (this.inWindow) return { top: 0, bottom: innerHeight, height: innerHeight };
    return this.scroller.getBoundingClientRect();
  }

  look() {
    const pages = this.pages;
    if (!pages.length || !this.scroller.isConnected) return;
    const view = this.view();
    const ahead = AHEAD * view.height;
    const boxes = pages.map((page) => page.getBoundingClientRect());
    const isNear = (box) => box.bottom > view.top - ahead && box.top < view.bottom + ahead;
    pages.forEach((page, place) => {
      if (isNear(boxes[place])) this.fill(page);
      else if (pages.length > 2 * KEPT && place >= KEPT && place < pages.length - KEPT) this.empty(page, boxes[place].height);
    });
    const { next, halt } = pages.at(-1).dataset;
    const isAtEnd = boxes.at(-1).bottom < view.bottom + ahead;
    if (isAtEnd && next && halt === undefined) this.load("next");
    else if (boxes[0].top > view.top - ahead && pages[0].dataset.previous) this.load("previous");
    else if (isAtEnd && !next && !this.failed) this.say(pages.some((page) => page.firstElementChild) ? "end" : "");
  }

  /** The page at the top of the view and the row in it (the page itself where that is empty). */
  atTop() {
    const top = this.view().top + this.headHeight();
    const isBelow = (element) => element.getBoundingClientRect().bottom > top;
    const page = this.pages.find(isBelow);
    const row = page && !this.away.has(page) ? [...page.children].find(isBelow) : null;
    return { page, row: row ?? page };
  }

  /** Change the pages; what is being read stays where it is. */
  keep(change) {
    const { row } = this.atTop();
    const before = row?.getBoundingClientRect().top;
    change();
    if (row?.isConnected) this.moveBy(row.getBoundingClientRect().top - before);
  }

  moveBy(pixels) {
    if (pixels) (this.inWindow ? document.scrollingElement : this.scroller).scrollTop += pixels;
  }

  toStart() {
    if (this.inWindow) document.scrollingElement.scrollTop = 0;
    else this.scroller.scrollTop = 0;
  }

  headHeight() {
    return this.scroller.querySelector("thead")?.getBoundingClientRect().height ?? 0;
  }

  // --- Emptying and filling ---

  empty(page, height) {
    const selection = getSelection();
    const isSelected = !selection.isCollapsed && selection.containsNode(page, true);
    if (this.away.has(page) || isSelected || page.contains(document.activeElement)) return;
    this.away.set(page, new Blob([page.innerHTML]));
    this.keep(() => page.replaceChildren(spacer(page, height)));
  }

  /** Resolves when the page has its rows. */
  async fill(page) {
    const blob = this.away.get(page);
    if (!blob) return;
    const markup = await blob.text();
    if (this.away.get(page) !== blob) return;
    this.away.delete(page);
    this.keep(() => {
      page.style.height = "";
      page.innerHTML = markup;
    });
    htmx.process(page);
    this.tell("filled", { page });
  }

  // --- Fetching ---

  /** Fetch what is beside the first or the last page; resolves when it is there, or has failed. */
  load(direction) {
    const beside = direction === "next" ? this.pages.at(-1) : this.pages[0];
    if (!this.loading && this.failed !== direction) {
      this.loading = this.fetch(beside, direction).finally(() => (this.loading = null));
    }
    return this.loading;
  }

  async fetch(beside, direction) {
    this.begin();
    const page = await fetched(beside.dataset[direction]).catch(() => null);
    this.scroller.removeAttribute("aria-busy");
    if (!beside.isConnected) return; // the list shows something else now
    if (!page) {
      this.fail(direction);
      return;
    }
    this.say("");
    this.failed = null;
    this.join(page, beside, direction);
    this.refresh();
  }

  begin() {
    this.scroller.setAttribute("aria-busy", "true");
    this.say("loading");
  }

  join(page, beside, direction) {
    if (!page.firstElementChild) {
      beside.dataset[direction] = page.dataset[direction] ?? "";
      return;
    }
    localise(page);
    if (direction === "next") beside.after(page);
    else this.keep(() => beside.before(page));
    htmx.process(page);
    this.tell("joined", { page, direction });
  }

  /** Show these pages instead, from the start. */
  replace(pages) {
    const [first, ...others] = this.pages;
    this.away.clear();
    this.failed = null;
    others.forEach((page) => page.remove());
    pages.forEach(localise);
    first.replaceWith(...pages);
    pages.forEach((page) => htmx.process(page));
    this.toStart();
    this.say("");
    this.refresh();
  }

  /** Take the pages after the first `count` out of the list: they can be fetched again. */
  trim(count) {
    for (const page of this.pages.slice(count)) {
      this.away.delete(page);
      page.remove();
    }
  }

  goOn(event) {
    const page = event.target.closest("[data-go-on]")?.closest("[data-page]");
    if (!page) return;
    event.preventDefault();
    delete page.dataset.halt;
    event.target.closest("[data-page] > *").remove();
    this.load("next");
  }

  fail(direction) {
    this.failed = direction;
    this.say("failed");
  }

  retry() {
    const direction = this.failed;
    this.failed = null;
    if (direction) this.load(direction);
    this.scroller.focus({ preventScroll: true });
  }

  say(word) {
    if (!this.status) return;
    const [text, button] = [this.status.querySelector("span"), this.status.querySelector("button")];
    const said = this.status.dataset[word] ?? "";
    if (text.textContent !== said) text.textContent = said;
    button.hidden = word !== "failed";
  }

  // --- Coming back ---

  remember() {
    const { page, row } = this.atTop();
    const anchor = this.here ? row : page;
    const address = this.here ? this.here(page, row) : page?.dataset.here;
    if (!address) return;
    const offset = Math.round(this.view().top + this.headHeight() - anchor.getBoundingClientRect().top);
    history.replaceState({ ...history.state, endless: offset }, "", address);
  }
}

/** The one element that `address` answers. Throws when it does not. */
export async function fetched(address) {
  const answer = await fetch(address, { headers: { "HX-Request": "true" } });
  if (!answer.ok) throw Object.assign(new Error(answer.status), { status: answer.status });
  const holder = document.createElement("template");
  holder.innerHTML = await answer.text();
  const element = holder.content.firstElementChild;
  if (!element || answer.redirected) throw new Error("no fragment");
  return element;
}

function spacer(page, height) {
  if (page.tagName !== "TBODY") {
    page.style.height = `${height}px`;
    return "";
  }
  const row = document.createElement("tr");
  row.setAttribute("aria-hidden", "true");
  row.append(Object.assign(document.createElement("td"), { colSpan: 1000 }));
  row.style.height = `${height}px`;
  return row;
}
