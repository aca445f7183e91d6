// What of the page is to be kept true: everything marked [data-live="topic:key …"], but
//
// - in [data-live-in-view] only what is on the screen, or near it, or has the focus;
// - while nobody looks at the page, only what is marked [data-live-always].
//
// Event on `document`: "live:view" when other elements are near the screen than before, and have been for a moment.

import { isHidden } from "./pace.js";
import { announce } from "./swap.js";

const NEAR_PX = 300;
const SETTLED_MS = 120; // a fast scroll passes by what nobody reads
const LONGEST_MS = 600; // a slow one never ends
const LINGER_MS = 4_000; // up and down again is no reason to ask anew

const observer = new IntersectionObserver(see, { rootMargin: `${NEAR_PX}px 0px` });
const leftAt = new WeakMap(); // element → Infinity while it is near, else since when it is not
let soonTimer = 0;
let soonSince = 0;
let laterTimer = 0;

/** The topics of what is to be kept true now, in the order of the page. */
export function topicsOnScreen() {
  const marked = [...document.querySelectorAll(isHidden() ? "[data-live][data-live-always]" : "[data-live]")];
  const followed = new Set(document.querySelectorAll("[data-live-in-view] [data-live]"));
  meet([...followed].filter((element) => !leftAt.has(element)));
  const focused = document.activeElement?.closest("[data-live]");
  const isWanted = (element) => !followed.has(element) || element === focused || Date.now() - leftAt.get(element) < LINGER_MS;
  return new Set(marked.filter(isWanted).flatMap((element) => element.dataset.live.split(/\s+/).filter(Boolean)));
}

// The observer answers with the next picture; what is watched from the start is said in the first request.
function meet(elements) {
  const boxes = elements.map((element) => element.getBoundingClientRect());
  elements.forEach((element, place) => {
    const { top, bottom } = boxes[place];
    leftAt.set(element, bottom > -NEAR_PX && top < innerHeight + NEAR_PX ? Infinity : -Infinity);
    observer.observe(element);
  });
}

function see(entries) {
  const changed = entries.filter(({ target, isIntersecting }) => isIntersecting !== (leftAt.get(target) === Infinity));
  for (const { target, isIntersecting } of changed) leftAt.set(target, isIntersecting ? Infinity : Date.now());
  if (changed.some(({ isIntersecting }) => isIntersecting)) saySoon();
  if (changed.some(({ isIntersecting }) => !isIntersecting)) sayLater();
}

function saySoon() {
  const now = Date.now();
  soonSince ||= now;
  clearTimeout(soonTimer);
  soonTimer = setTimeout(say, Math.max(0, Math.min(SETTLED_MS, soonSince + LONGEST_MS - now)));
}

function sayLater() {
  clearTimeout(laterTimer);
  laterTimer = setTimeout(say, LINGER_MS);
}

function say() {
  soonSince = 0;
  announce("live:view", {});
}

document.addEventListener("focusin", ({ target }) => {
  if (leftAt.get(target.closest("[data-live]")) < Infinity) saySoon();
});
