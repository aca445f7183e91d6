// New lines as they come. At the top of the list they appear by themselves; who reads further down, has opened a line or
// pressed the button is told how many there are, and nothing moves under their eyes. Scrolling up leads to them page
// by page, "N new lines" at once; at the top the list goes on by itself.
//
// A cursor says what is known: every line that was committed after it comes with the next question, those too that are
// older than what is shown ("late"). So that none is lost, an answer counts only when the list has the same first line
// as when it was asked, and waits for a page that is being fetched.

import { fetched } from "../endless.js";
import { localise } from "../time.js";
import { PAGE, cutBelow, insert, newest, placesOf, split } from "./place.js";

const FOLLOW_MS = 400;
const COUNT_MS = 1_500;
const FOLD_MS = 2_000;
const RETRY_MS = 5_000;
const QUIET_TURNS = 4; // asked again so often after the last line, before the push is waited for
const MOST_PAGES = 10; // that follow: what is further down can be fetched again
const TOP_PX = 4;
const FEW_PAGES = 3; // of lines that came meanwhile are put in when somebody comes to the top
const FAST_SHOWN_MS = 3_000;

export class Tail {
  #panel;
  #list;
  #cursor;
  #timer = 0;
  #turn = Promise.resolve(); // one thing at a time
  #quiet = 0;
  #isWoken = false;
  #askedAt = 0;
  #fastTimer = 0;
  #scrollTop = 0;
  #paused = ""; // why: "button", "scrolled", "reading"; "" follows
  #isWhole; // there was nothing above the first line when it was fetched
  #unseen = 0; // lines above the first one

  constructor(panel, list, { cursor, isStart }) {
    [this.#panel, this.#list, this.#cursor, this.#isWhole] = [panel, list, cursor, isStart];
    this.#paused = isStart ? "" : "scrolled";
    this.#listen();
    this.#show();
    this.wake();
  }

  get isFollowing() {
    return !this.#paused;
  }

  /** Ask now, or as soon as what is under way is done. */
  wake() {
    this.#isWoken = true;
    this.#quiet = 0;
    this.#plan(0);
  }

  stop() {
    clearTimeout(this.#timer);
    this.#timer = -1;
  }

  /** By button and key. */
  toggle() {
    if (this.isFollowing) this.#pause("button");
    else this.follow();
  }

  /** Somebody reads a line of those at the top, or does no longer. */
  read(isReading) {
    if (isReading && this.isFollowing) this.#pause("reading");
    else if (!isReading && this.#paused === "reading" && this.#isAtTop()) this.#resume();
  }

  /** Show the newest lines, and go on with them. */
  follow() {
    return this.#alone(async () => {
      if (this.#isBehind || this.#panel.isFolded) await this.#renew();
      this.#goOn();
    });
  }

  #listen() {
    this.#list.scroller.addEventListener("endless:scrolled", () => this.#onScroll());
    this.#list.scroller.addEventListener("endless:joined", ({ detail }) => this.#onJoined(detail));
  }

  /** Whether there are, or may be, lines above the first one. */
  get #isBehind() {
    return this.#unseen > 0 || !this.#isWhole;
  }

  #isAtTop() {
    return this.#list.scroller.scrollTop <= TOP_PX;
  }

  #onScroll() {
    const top = this.#list.scroller.scrollTop;
    const isUpwards = top < this.#scrollTop;
    this.#scrollTop = top;
    if (this.isFollowing && top > TOP_PX) this.#pause("scrolled");
    else if (this.#paused === "scrolled" && isUpwards && top <= TOP_PX) this.#resume();
    else if (this.#paused && isUpwards && this.#unseen && top < 1.5 * this.#list.view().height) this.#pull();
  }

  // What arrived since is read page by page by who scrolls up to it.
  #pull() {
    const [first] = this.#list.pages;
    if (first.dataset.previous || this.#panel.isFolded) return;
    first.dataset.previous = this.#panel.lines({ newer: newest(this.#list) });
    this.#list.refresh();
  }

  #onJoined({ page, direction }) {
    if (direction !== "previous") return;
    this.#scrollTop = this.#list.scroller.scrollTop; // nobody scrolled: the page was put above
    if (page.dataset.previous) this.#unseen = Math.max(1, this.#unseen - page.children.length);
    else this.#reachEnd();
    this.#show();
  }

  #pause(why) {
    this.#paused = why;
    this.#show();
  }

  #reachEnd() {
    [this.#unseen, this.#isWhole] = [0, true];
  }

  // At the top again: the few lines that came meanwhile are put in, and the list goes on. Of many, or of nobody knows how
  // many, it is the next page, above what is being read: who scrolls on comes to the top again.
  #resume() {
    return this.#alone(async () => {
      if (!this.#isAtTop() || this.isFollowing) return;
      const isFew = this.#isWhole && this.#unseen <= FEW_PAGES * PAGE;
      if (this.#panel.isFolded) await this.#renew();
      for (let pages = isFew ? FEW_PAGES : 1; this.#isBehind && pages; pages--) await this.#loadAbove();
      if (!this.#isBehind && (isFew || this.#isAtTop())) this.#goOn();
      else this.#pause("scrolled");
    });
  }

  async #loadAbove() {
    this.#pull();
    await this.#list.load("previous");
    if (!this.#list.pages[0].dataset.previous) this.#reachEnd(); // also by an answer without lines
  }

  #goOn() {
    this.#paused = "";
    this.#list.toStart();
    this.#scrollTop = 0;
    this.#show();
    this.wake();
  }

  async #renew() {
    const page = await fetched(this.#panel.lines({}));
    this.#panel.forgetEmpty(page.firstElementChild !== null);
    this.#list.replace([page]);
    [this.#cursor, this.#unseen, this.#isWhole] = [page.dataset.cursor, 0, true];
  }

  // --- Asking ---

  // Whether it went well.
  #alone(act) {
    this.#turn = this.#turn.then(act).then(
      () => true,
      () => false,
    );
    return this.#turn.then((isWell) => {
      this.#panel.complain(!isWell);
      if (!isWell) this.#plan(RETRY_MS);
      return isWell;
    });
  }

  #plan(wait) {
    if (!this.#timer) this.#timer = setTimeout(() => this.#ask(), wait);
  }

  async #ask() {
    this.#isWoken = false;
    if (document.hidden || !this.#list.scroller.isConnected) {
      this.#timer = 0;
      return;
    }
    const isWell = await this.#alone(async () => {
      await this.#list.loading;
      this.#quiet = (await this.#askOnce()) ? 0 : this.#quiet + 1;
    });
    if (this.#timer < 0) return;
    this.#timer = 0;
    if (isWell) this.#next();
    else this.#plan(RETRY_MS);
  }

  #next() {
    if (this.#isWoken || this.#quiet < QUIET_TURNS) this.#plan(this.#pace());
  }

  #pace() {
    if (this.#panel.isFolded) return FOLD_MS;
    return this.isFollowing ? FOLLOW_MS : COUNT_MS;
  }

  /** Whether something came. */
  async #askOnce() {
    const above = this.isFollowing && !this.#panel.isFolded ? "" : newest(this.#list);
    const answer = await fetched(this.#panel.lines({ tail: this.#cursor, ...(above && { above }) }));
    await this.#list.loading;
    if (above && above !== newest(this.#list)) return true; // it counted from another line: once more
    return above ? this.#count(answer) : this.#take(answer);
  }

  async #take({ dataset, children }) {
    const lines = [...children];
    if (dataset.gap !== undefined) {
      await this.#renew();
      return true;
    }
    this.#cursor = dataset.cursor;
    if (!lines.length) return false;
    this.#panel.forgetEmpty(true);
    const [oldest, leftOut] = [lines.at(-1).dataset.position, Number(dataset.leftOut)];
    await this.#put(lines);
    if (leftOut) cutBelow(this.#list, oldest, this.#panel.lines);
    this.#sayFast(leftOut, lines.length);
    return true;
  }

  async #put(lines) {
    lines.forEach(localise);
    const pages = placesOf(this.#list, lines);
    await Promise.all([...pages.keys()].map((page) => this.#list.fill(page)));
    const isFollowing = this.isFollowing && this.#isAtTop();
    if (isFollowing) insert(pages);
    else this.#list.keep(() => insert(pages));
    split(this.#list, this.#panel.lines);
    if (isFollowing) this.#list.trim(MOST_PAGES);
    this.#list.refresh();
    this.#panel.changed();
  }

  async #count({ dataset, children }) {
    const late = [...children];
    const unseen = Number(dataset.unseen);
    this.#cursor = dataset.cursor;
    if (dataset.gap !== undefined) this.#isWhole = false;
    if (late.length && !this.#panel.isFolded) await this.#put(late);
    if (unseen) {
      this.#unseen += unseen;
      this.#panel.changed();
    }
    if (unseen && this.isFollowing && this.#panel.isFolded) await this.#renew();
    this.#show();
    return unseen > 0 || late.length > 0;
  }

  // --- Saying ---

  #sayFast(leftOut, shown) {
    const seconds = (Date.now() - this.#askedAt) / 1000;
    this.#askedAt = Date.now();
    if (!leftOut) return;
    this.#panel.sayFast(Math.round((leftOut + shown) / Math.max(seconds, FOLLOW_MS / 1000)));
    clearTimeout(this.#fastTimer);
    this.#fastTimer = setTimeout(() => this.#panel.sayFast(0), FAST_SHOWN_MS);
  }

  #show() {
    const isAway = !this.isFollowing && (this.#isBehind || !this.#isAtTop());
    this.#panel.showState(this.isFollowing, isAway, this.#isWhole ? this.#unseen : 0);
  }
}
