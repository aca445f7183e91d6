// Lists without end: pages are fetched as they come near, in both directions, and the document stays small.
//
//   <div id="rows" data-endless tabindex="0">             scrolls; or data-endless="window": the window does
//     … <tbody data-page data-here="?…" data-next="?…" data-previous="?…">…</tbody> …
//   </div>
//   <div id="rows-status" data-loading="…" data-failed="…" data-end="…"><span></span><button hidden>…</button></div>
//
// A page is an element of any kind, beside the other pages. data-next and data-previous are the addresses of the pages
// after and before it, by keyset, empty where there is none; data-here is the address that shows the list from this
// page on. GET of such an address with HX-Request answers the page's element alone. New lines may be put before the
// first page by others (a live tail); they are no page's.
//
// - Beyond ten pages only the first five, the last five and those in view are in the document; the others are empty
//   elements of the same height, and are filled again, without a request, before they are scrolled into view. A page
//   that has the focus or a selection stays.
// - What is put in or taken out above does not move what is being read.
// - The address follows the page at the top, and how far it is scrolled: reload and Back come to the same row.
// - While a page is fetched the list is aria-busy. A failure is said in `#<id>-status`, with a button to try again.
// - Without JavaScript the links in [data-endless-pager] lead from page to page; with it they are hidden.
//
// import { endless } from "./endless.js";  const list = endless(element);  list.refresh() after a change from outside.

import { localise } from "./time.js";

const KEPT = 5; // at each end
const AHEAD = 1.5; // heights of the view that are ready below and above it
const SETTLED_MS = 250;

export function endless(scroller) {
  const list = new Endless(scroller);
  list.start();
  return list;
}

class Endless {
  constructor(scroller) {
    this.scroller = scroller;
    this.inWindow = scroller.dataset.endless === "window";
    this.status = document.getElementById(`${scroller.id}-status`);
    this.away = new Map(); // page → its markup
    this.loading = false;
    this.failed = null; // the direction in which the last request failed
    this.frame = 0;
    this.settled = 0;
  }

  start() {
    for (const pager of document.querySelectorAll("[data-endless-pager]")) pager.hidden = true;
    this.status?.querySelector("button").addEventListener("click", () => this.retry());
    (this.inWindow ? window : this.scroller).addEventListener("scroll", () => this.onScroll(), { passive: true });
    addEventListener("resize", () => this.refresh());
    const offset = history.state?.endless;
    this.moveBy(offset);
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
  }

  // --- What is in view ---

  view() {
    if (this.inWindow) return { top: 0, bottom: innerHeight, height: innerHeight };
    return this.scroller.getBoundingClientRect();
  }

  look() {
    const pages = this.pages;
    if (!pages.length) return;
    const view = this.view();
    const ahead = AHEAD * view.height;
    const boxes = pages.map((page) => page.getBoundingClientRect());
    const isNear = (box) => box.bottom > view.top - ahead && box.top < view.bottom + ahead;
    pages.forEach((page, place) => {
      if (isNear(boxes[place])) this.fill(page);
      else if (pages.length > 2 * KEPT && place >= KEPT && place < pages.length - KEPT) this.empty(page, boxes[place].height);
    });
    const { next } = pages.at(-1).dataset;
    const isAtEnd = boxes.at(-1).bottom < view.bottom + ahead;
    if (isAtEnd && next) this.load("next");
    else if (boxes[0].top > view.top - ahead && pages[0].dataset.previous) this.load("previous");
    else if (isAtEnd && !this.failed) this.say("end");
  }

  // --- Emptying and filling ---

  empty(page, height) {
    const selection = getSelection();
    const isSelected = !selection.isCollapsed && selection.containsNode(page, true);
    if (this.away.has(page) || isSelected || page.contains(document.activeElement)) return;
    this.away.set(page, page.innerHTML);
    this.replace(page, () => page.replaceChildren(spacer(page, height)));
  }

  fill(page) {
    const markup = this.away.get(page);
    if (markup === undefined) return;
    this.away.delete(page);
    this.replace(page, () => {
      page.style.height = "";
      page.innerHTML = markup;
    });
    htmx.process(page);
  }

  // Change `page`; when it is above what is being read, that stays where it is.
  replace(page, change) {
    const above = page.getBoundingClientRect().bottom <= this.view().top;
    const before = page.getBoundingClientRect().height;
    change();
    if (above) this.moveBy(page.getBoundingClientRect().height - before);
  }

  moveBy(pixels) {
    if (pixels) (this.inWindow ? document.scrollingElement : this.scroller).scrollTop += pixels;
  }

  // --- Fetching ---

  async load(direction) {
    const beside = direction === "next" ? this.pages.at(-1) : this.pages[0];
    const address = beside.dataset[direction];
    if (this.loading || this.failed === direction) return;
    this.begin();
    const page = await fetched(address).catch(() => null);
    this.loading = false;
    this.scroller.removeAttribute("aria-busy");
    if (!page) return this.fail(direction);
    this.say("");
    this.failed = null;
    this.join(page, beside, direction);
    this.refresh();
  }

  begin() {
    this.loading = true;
    this.scroller.setAttribute("aria-busy", "true");
    this.say("loading");
  }

  // An empty page says that there is nothing on that side now.
  join(page, beside, direction) {
    const isEmpty = !page.firstElementChild;
    beside.dataset[direction] = isEmpty ? "" : beside.dataset[direction];
    if (isEmpty) return;
    localise(page);
    if (direction === "next") {
      beside.after(page);
    } else {
      beside.before(page);
      this.moveBy(page.getBoundingClientRect().height);
    }
    htmx.process(page);
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
    const top = this.view().top;
    const first = this.pages.find((page) => page.getBoundingClientRect().bottom > top + this.headHeight());
    if (!first?.dataset.here) return;
    const offset = Math.round(top + this.headHeight() - first.getBoundingClientRect().top);
    history.replaceState({ ...history.state, endless: offset }, "", first.dataset.here);
  }

  headHeight() {
    return this.scroller.querySelector("thead")?.getBoundingClientRect().height ?? 0;
  }
}

async function fetched(address) {
  const answer = await fetch(address, { headers: { "HX-Request": "true" } });
  if (!answer.ok) throw new Error(answer.status);
  const holder = document.createElement("template");
  holder.innerHTML = await answer.text();
  const page = holder.content.querySelector("[data-page]");
  if (!page) throw new Error("no page");
  return page;
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
