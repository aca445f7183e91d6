// The floating widget that says whether what one sees is live. It never says so when it is not sure.

import { localise, relative, serverNow, write } from "../time.js";
import { announce } from "./swap.js";

const MINUTE_MS = 60_000;
const MINIMISED = "openmanager.live.minimised";
const CALM = ["", "polling"]; // what is no reason to open by itself
const PHONE = matchMedia("(max-width: 700px)"); // there it opens when somebody wants it to

export class Status {
  #root = document.getElementById("live-status");
  #connection;
  #beat = null;
  #said = "";
  #frames = []; // when the frames of the last minute came

  constructor(connection) {
    this.#connection = connection;
    connection.addEventListener("state", () => this.show());
    if (!this.#root) return;
    this.#part("retry").addEventListener("click", () => this.#reconnect());
    this.#part("sign-in").addEventListener("click", comeBackHere);
    this.#part("toggle").addEventListener("click", () => this.#choose(!this.#isMinimised()));
    setInterval(() => document.hidden || this.show(), 1_000);
    document.addEventListener("visibilitychange", () => document.hidden || this.show());
    this.show();
  }

  /** A beat came: {health, touched, epoch} of the hub. */
  hear(beat) {
    this.#beat = beat;
    this.show();
  }

  countFrame() {
    const now = Date.now();
    this.#frames = [...this.#frames.filter((at) => now - at < MINUTE_MS), now];
  }

  show() {
    const [state, notice] = this.#judge();
    if (this.#root) {
      this.#showState(state, notice);
      this.#resize(notice);
      this.#showNumbers();
    }
    const { since, transport } = this.#connection;
    if (this.#said === [state, notice, transport].join()) return;
    this.#said = [state, notice, transport].join();
    announce("live:state", { state, reason: notice, since, transport });
  }

  #showState(state, notice) {
    if (this.#root.dataset.state === state && this.#root.dataset.reason === notice) return;
    this.#root.dataset.state = state;
    this.#root.dataset.reason = notice;
    this.#only("data-when", wordFor(state, notice));
    this.#only("data-notice", notice);
  }

  /** [state, notice]; a connection that is open is not enough to say "connected". */
  #judge() {
    const { state, transport, isCrowded } = this.#connection;
    if (state === "signed-out") return ["lost", "signed-out"];
    if (state === "lost") return ["lost", navigator.onLine ? "lost" : "offline"];
    if (state === "connecting" || !this.#beat) return ["connecting", ""];
    if (this.#beat.health !== "ok") return ["unknown", "degraded"];
    if (this.#isStale()) return ["unknown", "stale"];
    return ["connected", isCrowded ? "crowded" : transport === "polling" ? "polling" : ""];
  }

  #isStale() {
    const touched = Number(this.#beat.touched);
    const limitMs = 1000 * Number(this.#root?.dataset.staleAfterS ?? 60);
    return touched > 0 && serverNow() - touched > limitMs;
  }

  #showNumbers() {
    const newest = newestData();
    this.#write("age", newest ? relative(newest) : "–");
    if (this.#isMinimised()) return;
    this.#write("newest", newest ? relative(newest) : "–");
    const now = Date.now();
    this.#frames = this.#frames.filter((at) => now - at < MINUTE_MS);
    const { latencyMs, state, since, transport, retryAt } = this.#connection;
    this.#write("transport", transport ? this.#root.dataset[transport] : "–");
    this.#write("latency", latencyMs === null || state !== "open" ? "–" : `${Math.max(1, Math.round(latencyMs))} ms`);
    this.#write("frames", String(this.#frames.length));
    this.#part("next").hidden = !retryAt || transport === "socket";
    if (retryAt) this.#write("next", relative(Math.max(retryAt, now) - now + serverNow()));
    this.#root.querySelectorAll("time[data-value=since]").forEach((element) => {
      element.setAttribute("datetime", new Date(since).toISOString());
      localise(element);
    });
  }

  #reconnect() {
    this.#connection.startOver();
    announce("live:refresh", {});
  }

  #isMinimised() {
    return this.#root.hasAttribute("data-minimised");
  }

  #choose(minimised) {
    localStorage.setItem(MINIMISED, minimised ? "1" : "0");
    this.show();
  }

  // As the person chose, on every page; until then small while all is well, and large when there is something to say.
  #resize(notice) {
    const chosen = localStorage.getItem(MINIMISED);
    const minimised = chosen === null ? PHONE.matches || CALM.includes(notice) : chosen === "1";
    if (this.#root.querySelector("#live-status-details").hidden === minimised) return;
    this.#root.toggleAttribute("data-minimised", minimised);
    this.#part("toggle").setAttribute("aria-expanded", String(!minimised));
    this.#root.querySelector("#live-status-details").hidden = minimised;
  }

  #part(name) {
    return this.#root.querySelector(`[data-part="${name}"]`);
  }

  #only(attribute, value) {
    this.#root.querySelectorAll(`[${attribute}]`).forEach((element) => {
      element.hidden = element.getAttribute(attribute) !== value;
    });
  }

  #write(name, text) {
    write(this.#root.querySelector(`[data-value="${name}"]`), text);
  }
}

// Some reasons have a word of their own.
function wordFor(state, notice) {
  return ["offline", "signed-out", "polling"].includes(notice) ? notice : state;
}

function comeBackHere({ currentTarget: link }) {
  link.search = new URLSearchParams({ next: location.pathname + location.search });
}

/** Epoch ms of the newest sample among what this page watches; 0 when none says. */
export function newestData() {
  const stamps = [...document.querySelectorAll("[data-live][data-at]")].map((element) => Number(element.dataset.at));
  return stamps.reduce((newest, at) => (at > newest ? at : newest), 0);
}
