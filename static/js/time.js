// Times on the page, in the person's own words and zone.
//
// <time datetime="2026-11-21T04:25:00Z">               "12 s ago", kept true every second
// <time datetime="…" data-show="lately">               the same from 10 s on, before that "now": what is well does not tick
// <time datetime="…" data-show="clock">                "13:25", with the day when it was not today
// <time datetime="…" data-show="full">                 date and time with seconds
// <time datetime="…" data-show="moment">               "13:25:04.127", with the day when it was not today
//
// The title always has the exact time in the person's zone and in UTC. Without JavaScript the server's text stays.

const UNITS = [["year", 31_536_000], ["month", 2_592_000], ["day", 86_400], ["hour", 3_600], ["minute", 60], ["second", 1]];
const LANGUAGE = document.documentElement.lang || undefined;
const ZONE = document.body.dataset.timeZone || undefined; // undefined: the browser's

const ago = new Intl.RelativeTimeFormat(LANGUAGE, { style: "narrow", numeric: "auto" });
const clock = formatter({ hour: "2-digit", minute: "2-digit", hour12: false });
const dayAndClock = formatter({ month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hour12: false });
const toTheMillisecond = { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23" };
const moment = formatter(toTheMillisecond);
const dayAndMoment = formatter({ month: "short", day: "numeric", ...toTheMillisecond });
const full = formatter({ dateStyle: "medium", timeStyle: "medium", hour12: false });
const fullUtc = formatter({ dateStyle: "medium", timeStyle: "medium", hour12: false, timeZone: "UTC" });
const day = formatter({ dateStyle: "short" });

const MOST_REMEMBERED = 500;
const known = new Map(); // what was formatted before: a hundred cards say the same few things each second

const AGES = 'time[datetime]:not([data-show]), time[datetime][data-show="lately"]';
const LATELY_MS = 10_000;
const TICK_MS = 1_000;
const LATE_MS = 200; // news that comes each second is a little late at times

let clockIsBehindMs = 0;
let timer = 0;
let tickedAt = 0;

function formatter(options) {
  return new Intl.DateTimeFormat(LANGUAGE, { timeZone: ZONE, ...options });
}

function remembered(key, make) {
  if (!known.has(key)) {
    if (known.size >= MOST_REMEMBERED) known.clear();
    known.set(key, make());
  }
  return known.get(key);
}

/** The server's clock says `serverMs` now; ages are counted by it, however wrong this machine's clock is. */
export function setServerClock(serverMs) {
  clockIsBehindMs = serverMs - Date.now();
}

export function serverNow() {
  return Date.now() + clockIsBehindMs;
}

/** "12s ago", "in 5 min.", by the largest unit that fits; never "in 0 seconds" for what just happened. */
export function relative(ms) {
  const seconds = Math.round((ms - serverNow()) / 1000);
  if (seconds > 0 && seconds < 3) return ago.format(0, "second");
  const [unit, size] = UNITS.find(([, size]) => Math.abs(seconds) >= size) ?? UNITS.at(-1);
  return remembered(`${Math.trunc(seconds / size)} ${unit}`, () => ago.format(Math.trunc(seconds / size), unit));
}

function lately(ms) {
  return relative(Math.abs(ms - serverNow()) < LATELY_MS ? serverNow() : ms);
}

function isToday(ms) {
  return day.format(ms) === remembered(Math.floor(serverNow() / 60_000), () => day.format(serverNow()));
}

export function clockTime(ms) {
  return (isToday(ms) ? clock : dayAndClock).format(ms);
}

function momentTime(ms) {
  return (isToday(ms) ? moment : dayAndMoment).format(ms);
}

export function fullTime(ms) {
  return full.format(ms);
}

/** Make `text` what `element` says; nothing happens when it says so already. */
export function write(element, text) {
  const [node, ...others] = element.childNodes;
  if (others.length || node?.nodeType !== Node.TEXT_NODE) element.textContent = text;
  else if (node.data !== text) node.data = text; // a new node would have the style of its surroundings found anew
}

const SHOWN = { lately, clock: clockTime, full: fullTime, moment: momentTime };

/** Write one time, a `<time datetime>`. */
export function show(element) {
  const ms = Date.parse(element.getAttribute("datetime"));
  if (Number.isNaN(ms)) return;
  const text = (SHOWN[element.dataset.show] ?? relative)(ms);
  write(element, text);
  const title = remembered(ms, () => `${full.format(ms)} · ${fullUtc.format(ms)} UTC`);
  if (element.title !== title) element.title = title;
}

/** Those with an instant: what else is marked as a time says it itself. */
export function timesIn(root) {
  return [...root.querySelectorAll("time[datetime]")];
}

/** Write the times in `root`; also for what is not yet in the page, so that a morph finds nothing to change. */
export function localise(root) {
  if (root.matches?.("time[datetime]")) show(root);
  timesIn(root).forEach(show);
}

function tick() {
  tickAgainIn(TICK_MS);
  if (!document.hidden) document.querySelectorAll(AGES).forEach(show);
}

function tickAgainIn(ms) {
  clearTimeout(timer);
  timer = setTimeout(tick, ms);
  tickedAt = Date.now();
}

/** Something else changes the page now: what has to be written soon is written with it, and drawn once instead of twice. */
export function tickAlong() {
  if (Math.abs(Date.now() - tickedAt) < TICK_MS / 2) return;
  tick();
  tickAgainIn(TICK_MS + LATE_MS);
}

localise(document);
tickAgainIn(TICK_MS);
document.addEventListener("visibilitychange", tick);
document.addEventListener("htmx:load", (event) => localise(event.target));
