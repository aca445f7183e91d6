// Says on every page when an incident fires, worsens or resolves: notices made of what the fragment `alerts` carries.
//
// Shown is what this tab did not know: no history when a page is opened, none after more than a minute without a
// connection. One notice per incident, which its newest news replaces. What one tab closes or acknowledges, the others
// close.
//
// Event on `document`: "alerts:news" {news: [{key, kind, firing, text, href}]} with what this tab did not know.

import { forget, notify } from "./toasts.js";

const NEWS_MS = 60_000;
const TIMEOUT_MS = 15_000;
const KINDS = ["error", "warning", "info", "success"]; // worst first
const MOST = matchMedia("(max-width: 640px)").matches ? 2 : 3;
const SEEN = "openmanager.alerts.seen"; // of this tab: what happened on the way from page to page is news
const MOST_SEEN = 200;
const FOLDED = "alerts-folded";

const region = document.getElementById("toasts");
const words = region.dataset;
const channel = new BroadcastChannel("openmanager.alerts");
const shown = new Map(); // key of a notice → the news that it shows, oldest first
const folded = { count: 0, kind: KINDS.at(-1) };

let seen = new Set(); // the entries that this tab knows: transactions overlap, so a lower one may come later
let heardAt = Date.now(); // the last beat of the connection
let lostAt = null; // since when this tab may have missed something

function carried() {
  return [...document.querySelectorAll("#alerts .announcements > li")].map(({ dataset, firstElementChild: link }) => ({
    entry: dataset.entry,
    key: `incident-${dataset.incident}`,
    kind: dataset.kind,
    group: dataset.group,
    firing: "firing" in dataset,
    text: link.textContent,
    href: link.getAttribute("href"),
  }));
}

function take() {
  const all = carried();
  const fresh = all.filter((one) => !seen.has(one.entry));
  const isNews = lostAt === null || Date.now() - lostAt < NEWS_MS;
  lostAt = null;
  see(all);
  closeWhatIsOver(all);
  if (!isNews || !fresh.length) return;
  announceAll(fresh);
  document.dispatchEvent(new CustomEvent("alerts:news", { detail: { news: fresh } }));
}

function see(all) {
  seen = new Set([...seen, ...all.map((one) => one.entry)].slice(-MOST_SEEN));
  remember();
}

function remember() {
  sessionStorage.setItem(SEEN, JSON.stringify({ seen: [...seen], at: Date.now() }));
}

/** What the page before this one knew, if this tab was here a moment ago. */
function recall() {
  const kept = JSON.parse(sessionStorage.getItem(SEEN) ?? "null");
  if (!kept || Date.now() - kept.at > NEWS_MS) see(carried());
  else seen = new Set(kept.seen);
}

// Somebody has it by now, or nothing fires any more.
function closeWhatIsOver(all) {
  for (const one of all) if (!one.firing && shown.get(one.key)?.firing && shown.get(one.key).entry === one.entry) close(one.key);
  if (document.querySelector("#alerts .bell.is-calm")) unfold();
}

function announceAll(fresh) {
  if (![...region.children].some((toast) => toast.dataset.key === FOLDED)) unfold();
  const before = folded.count;
  const open = openKeys();
  const known = fresh.filter((one) => open.includes(one.key));
  const others = fresh.filter((one) => !open.includes(one.key));
  others.sort((a, b) => KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind));
  const room = others.length === 1 ? 1 : Math.max(0, MOST - open.length);
  [...known, ...others.slice(0, room)].forEach(show);
  others.slice(room).forEach(fold);
  for (const key of openKeys().slice(0, -MOST)) {
    fold(shown.get(key));
    close(key);
  }
  if (folded.count > before) showFolded();
}

function openKeys() {
  return [...region.children].map((toast) => toast.dataset.key).filter((key) => shown.has(key));
}

function show(one) {
  shown.set(one.key, one);
  const actions = one.href === location.pathname ? [] : [{ text: words.open, href: one.href }];
  if (one.firing && mayHandle(one)) actions.unshift({ text: words.acknowledge, run: () => acknowledge(one) });
  notify({ kind: one.kind, text: one.text, key: one.key, actions, renew: true });
}

function close(key) {
  shown.delete(key);
  forget(key);
}

function fold(one) {
  folded.count += 1;
  if (KINDS.indexOf(one.kind) < KINDS.indexOf(folded.kind)) folded.kind = one.kind;
}

function showFolded() {
  const [one, many] = folded.kind === "success" ? [words.moreOverOne, words.moreOver] : [words.moreOne, words.more];
  const isCut = document.querySelector("#alerts .announcements").hasAttribute("data-cut");
  const text = folded.count === 1 ? one : many.replace("%s", isCut ? `${folded.count}+` : folded.count);
  notify({ kind: folded.kind, text, key: FOLDED, actions: [{ text: words.open, href: words.alerts }], renew: true });
}

function unfold() {
  Object.assign(folded, { count: 0, kind: KINDS.at(-1) });
  forget(FOLDED);
}

// --- What a person does about it ---

function mayHandle({ group }) {
  return words.operates === "*" || words.operates.split(",").includes(group);
}

async function post(address, fields) {
  const token = document.querySelector("input[name=csrfmiddlewaretoken]").value;
  const body = new URLSearchParams({ csrfmiddlewaretoken: token, ...fields });
  const headers = { "HX-Request": "true" }; // a script: it is answered with plain words, not with a page
  const answer = await fetch(address, { method: "POST", body, headers, signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!answer.ok) throw new Refused(await answer.text(), answer.status);
}

class Refused extends Error {
  constructor(text, status) {
    super(status === 409 || status === 422 ? text : status < 500 ? words.refused : words.failed);
  }
}

// Shown as done at once, without what could be done next until the portal has said so.
async function handle(one, verb, fields, foresee, done) {
  foresee();
  try {
    await post(`${one.href}${verb}/`, fields);
    done();
  } catch (error) {
    show(one);
    notify({ kind: "error", text: error instanceof Refused ? error.message : words.failed, key: "alert-not-handled" });
  }
}

function acknowledge(one) {
  const mine = { kind: "success", text: words.acknowledged.replace("%s", one.text), key: one.key, renew: true };
  const back = { text: words.takeBack, run: () => giveBack(one) };
  const foresee = () => {
    shown.set(one.key, { ...one, firing: false });
    notify(mine).classList.add("is-sending");
  };
  return handle(one, "acknowledge", { reason: words.fromNotice, until: "1h" }, foresee, () => {
    channel.postMessage(one.key);
    notify({ ...mine, actions: [back] });
  });
}

function giveBack(one) {
  return handle(one, "release", {}, () => close(one.key), () => {});
}

channel.addEventListener("message", ({ data }) => (data === FOLDED ? unfold() : close(data)));
document.addEventListener("toast:dismissed", ({ detail: { key } }) => {
  if (key !== FOLDED && !shown.has(key)) return;
  key === FOLDED ? unfold() : close(key);
  channel.postMessage(key);
});

document.addEventListener("live:swapped", ({ detail: { swapped } }) => {
  if (swapped.has("alerts")) take();
  if (swapped.has("live-beat")) heardAt = Date.now();
});
document.addEventListener("live:state", ({ detail: { state } }) => {
  if (state === "lost") lostAt ??= heardAt;
});
window.addEventListener("pagehide", remember);
recall();
take();
