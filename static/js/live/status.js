// The floating widget that says whether what one sees is live. It never says so when it is not sure.

import { localise, relative, serverNow } from "../time.js";
import { announce } from "./swap.js";

const MINIMISED = "openmanager.live.minimised";

export class Status {
  #root = document.getElementById("live-status");
  #connection;
  #beat = null;
  #state = "";
  #frames = []; // when the frames of the last minute came

  constructor(connection) {
    this.#connection = connection;
    connection.addEventListener("state", () => this.show());
    if (!this.#root) return;
    this.#part("retry").addEventListener("click", () => connection.startOver());
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
    this.#frames.push(Date.now());
  }

  show() {
    const [state, notice] = this.#judge();
    if (this.#root) {
      this.#root.dataset.state = state;
      this.#only("data-when", state);
      this.#only("data-notice", notice);
      this.#part("retry").hidden = state !== "lost";
      this.#resize(notice);
      this.#showDetails();
    }
    if (state === this.#state) return;
    this.#state = state;
    announce("live:state", { state, reason: notice, since: this.#connection.since });
  }

  /** [state, notice]; a socket that is open is not enough to say "connected". */
  #judge() {
    const { state } = this.#connection;
    if (state === "signed-out") return ["lost", "signed-out"];
    if (state === "lost") return ["lost", navigator.onLine ? "lost" : "offline"];
    if (state === "connecting" || !this.#beat) return ["connecting", ""];
    if (this.#beat.health !== "ok") return ["unknown", "degraded"];
    return this.#isStale() ? ["unknown", "stale"] : ["connected", ""];
  }

  #isStale() {
    const touched = Number(this.#beat.touched);
    const limitMs = 1000 * Number(this.#root?.dataset.staleAfterS ?? 60);
    return touched > 0 && serverNow() - touched > limitMs;
  }

  #showDetails() {
    if (this.#isMinimised()) return;
    const now = Date.now();
    this.#frames = this.#frames.filter((at) => now - at < 60_000);
    const { latencyMs, state, since } = this.#connection;
    const newest = newestData();
    this.#write("latency", latencyMs === null || state !== "open" ? "–" : `${Math.max(1, Math.round(latencyMs))} ms`);
    this.#write("frames", String(this.#frames.length));
    this.#write("newest", newest ? relative(newest) : "–");
    this.#root.querySelectorAll("time[data-value=since]").forEach((element) => {
      element.setAttribute("datetime", new Date(since).toISOString());
      localise(element);
    });
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
    const minimised = chosen === null ? !notice : chosen === "1";
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
    const element = this.#root.querySelector(`[data-value="${name}"]`);
    if (element.textContent !== text) element.textContent = text;
  }
}

function comeBackHere({ currentTarget: link }) {
  link.search = new URLSearchParams({ next: location.pathname + location.search });
}

/** Epoch ms of the newest sample among what this page watches; 0 when none says. */
export function newestData() {
  const stamps = [...document.querySelectorAll("[data-live][data-at]")].map((element) => Number(element.dataset.at));
  return stamps.reduce((newest, at) => (at > newest ? at : newest), 0);
}
