// How often news is wanted: by whether somebody looks, whether they do anything, and what the line can carry.
//
// Event on `document`: "live:pace" when the answer has changed.

import { announce } from "./swap.js";

const IDLE_MS = 5 * 60_000;
const HIDDEN_MS = 5_000; // a glance at another tab changes nothing
const LOOK_MS = 5_000;
const SOCKET_S = ["high", "5", "15", "30", "60"];
const POLL_S = { fleet: 5, alerts: 5, server: 15, vitals: 15, samples: 15, incident: 15, incidents: 15 };
const POLL_REST_S = 30;
const [IDLE_FACTOR, SLOW_FACTOR, HIDDEN_FACTOR, AWAITED_FACTOR] = [3, 3, 12, 3];
const SIGNS_OF_LIFE = ["pointerdown", "pointermove", "keydown", "touchstart", "wheel", "scroll", "focus"];

const link = navigator.connection;
const now = { hidden: document.hidden, idle: false, slow: isSlow(), awaited: false };
let activeAt = Date.now();
let hiddenTimer = 0;

function isSlow() {
  return Boolean(link?.saveData) || ["slow-2g", "2g"].includes(link?.effectiveType);
}

function become(change) {
  const before = JSON.stringify(now);
  Object.assign(now, change);
  if (JSON.stringify(now) !== before) announce("live:pace", { ...now });
}

/** Nobody has looked at this page for a moment. */
export function isHidden() {
  return now.hidden;
}

/** The data plan or the line is narrow: nothing is fetched that may turn out not to be needed. */
export function isSparing() {
  return now.slow;
}

/** Somebody wants to be told also while the page is hidden: then its alerts come sooner. */
export function awaitAlerts(awaited) {
  become({ awaited });
}

/** What the socket is asked for: at most one frame in so many seconds. */
export function socketPace() {
  if (now.hidden) return now.awaited ? "5" : "60";
  return SOCKET_S[(now.slow ? 1 : 0) + (now.idle ? 2 : 0)];
}

/** Seconds between two questions for `topic`. */
export function pollSeconds(topic) {
  const factor = now.hidden ? (now.awaited ? AWAITED_FACTOR : HIDDEN_FACTOR) : now.idle ? IDLE_FACTOR : 1;
  return (POLL_S[topic.split(":")[0]] ?? POLL_REST_S) * factor * (now.slow ? SLOW_FACTOR : 1);
}

function live() {
  activeAt = Date.now();
  if (now.idle) become({ idle: false });
}

function watchVisibility() {
  clearTimeout(hiddenTimer);
  if (document.hidden) hiddenTimer = setTimeout(() => become({ hidden: true }), HIDDEN_MS);
  else {
    activeAt = Date.now();
    become({ hidden: false, idle: false });
  }
}

for (const sign of SIGNS_OF_LIFE) addEventListener(sign, live, { passive: true, capture: true });
setInterval(() => Date.now() - activeAt > IDLE_MS && become({ idle: true }), LOOK_MS);
document.addEventListener("visibilitychange", watchVisibility);
link?.addEventListener("change", () => become({ slow: isSlow() }));
