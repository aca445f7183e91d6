// Native notifications about critical incidents, for who chose so in this browser: one for each incident, and none while
// a page of ours is before somebody's eyes (then the notice on the page says it).

import { awaitAlerts } from "./pace.js";

const ON = "openmanager.notify."; // + the person; kept in this browser
const TOLD = "openmanager.notified";
const MOST_TOLD = 200;
const CRITICAL = "error"; // as a notice
const [VISIBLE, TELLING] = ["openmanager.visible", "openmanager.telling"]; // locks that all tabs share

const root = document.getElementById("notify");
const words = root?.dataset;
const canNotify = Boolean(root && window.Notification && navigator.locks);
let letGo = null;

function chosen() {
  return canNotify && localStorage.getItem(ON + words.person) === "1";
}

function isOn() {
  return chosen() && Notification.permission === "granted";
}

function show() {
  const denied = canNotify && Notification.permission === "denied";
  for (const button of root.querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String((button.value === "on") === isOn()));
    button.disabled = !canNotify;
  }
  for (const part of root.querySelectorAll("[data-part]")) {
    part.hidden = part.dataset.part !== (canNotify ? (denied ? "denied" : "") : "unsupported");
  }
  awaitAlerts(isOn());
}

// Asked for here and nowhere else: a browser asks once, and only somebody who has just pressed the button knows why.
async function choose(on) {
  localStorage.setItem(ON + words.person, on ? "1" : "0");
  if (on && Notification.permission === "default") await Notification.requestPermission();
  show();
  if (on && isOn()) notify({ text: words.chosen, key: "openmanager-chosen", href: "" });
}

function notify({ text, key, href }) {
  const made = new Notification(words.title, { body: text, tag: key, icon: words.icon });
  made.addEventListener("click", () => {
    window.focus();
    made.close();
    if (href) location.assign(href);
  });
}

// --- Only one of the tabs, and only when none is seen ---

function sayWhetherSeen() {
  if (document.hidden) {
    letGo?.();
    letGo = null;
  } else if (!letGo) {
    navigator.locks.request(VISIBLE, { mode: "shared" }, () => new Promise((resolve) => (letGo = resolve)));
  }
}

async function isSeen() {
  const { held } = await navigator.locks.query();
  return held.some(({ name }) => name === VISIBLE);
}

async function tell(news) {
  const critical = news.filter(({ kind, firing }) => kind === CRITICAL && firing);
  if (!isOn() || !critical.length) return;
  await navigator.locks.request(TELLING, async () => {
    if (await isSeen()) return;
    const told = new Set(JSON.parse(localStorage.getItem(TOLD) ?? "[]"));
    for (const one of critical.filter(({ key }) => !told.has(key))) {
      notify(one);
      told.add(one.key);
    }
    localStorage.setItem(TOLD, JSON.stringify([...told].slice(-MOST_TOLD)));
  });
}

if (root) {
  root.addEventListener("click", ({ target }) => target.closest("button") && choose(target.closest("button").value === "on"));
  addEventListener("storage", ({ key }) => key === ON + words.person && show());
  show();
}
if (canNotify) {
  document.addEventListener("alerts:news", ({ detail }) => tell(detail.news));
  document.addEventListener("visibilitychange", sayWhetherSeen);
  sayWhetherSeen();
}
