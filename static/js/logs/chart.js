// The bars over the list: their numbers under the pointer or by arrows, and a time chosen by dragging, clicking or keys.

import { clockTime } from "../time.js";

const LEVELS = ["debug", "info", "warning", "error"];
const STEPS = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };

export class Chart {
  #panel;
  #from = -1; // where a choice began, and how far it goes: numbers of bars
  #to = -1;
  #isDragging = false;
  #hint = null;

  constructor(panel) {
    this.#panel = panel;
    const { root, signal } = panel;
    root.addEventListener("pointerdown", (event) => this.#press(event), { signal });
    root.addEventListener("pointermove", (event) => this.#move(event), { signal });
    root.addEventListener("pointerleave", () => this.#isDragging || this.#forget(), { signal });
    addEventListener("pointerup", (event) => this.#release(event), { signal });
    addEventListener("pointercancel", () => this.#forget(), { signal });
    root.addEventListener("keydown", (event) => this.#onKey(event), { signal });
    root.addEventListener("focusout", (event) => event.target === this.#plot && this.#forget(), { signal });
  }

  /** Somebody is choosing: the bars must not change under the hand. */
  get isBusy() {
    return this.#isDragging || (this.#from >= 0 && document.activeElement === this.#plot);
  }

  renew() {
    this.#hint = null;
  }

  get #plot() {
    return this.#panel.root.querySelector(".log-plot");
  }

  get #bars() {
    return [...this.#panel.root.querySelectorAll(".log-plot g")];
  }

  #barAt({ clientX }) {
    const box = this.#plot.getBoundingClientRect();
    const count = this.#bars.length;
    return Math.max(0, Math.min(count - 1, Math.floor(((clientX - box.left) / box.width) * count)));
  }

  #press(event) {
    if (event.button !== 0 || !event.target.closest(".log-plot") || !this.#bars.length) return;
    this.#isDragging = true;
    this.#from = this.#barAt(event);
    this.#to = this.#from;
    this.#draw();
  }

  #move(event) {
    if (this.#isDragging) this.#to = this.#barAt(event);
    else if (event.target.closest(".log-plot") && this.#bars.length) this.#from = this.#to = this.#barAt(event);
    else if (this.#from < 0 || document.activeElement === this.#plot) return;
    else return this.#forget();
    this.#draw();
  }

  #release() {
    if (!this.#isDragging) return;
    this.#isDragging = false;
    this.#apply();
  }

  #onKey(event) {
    if (event.target !== this.#plot || !this.#bars.length) return;
    if (event.key in STEPS) this.#step(STEPS[event.key], event.shiftKey);
    else if (event.key === "Enter" && this.#from >= 0) this.#apply();
    else if (event.key === "Escape") this.#forget();
    else return;
    event.preventDefault();
  }

  #step(by, isSelecting) {
    const last = this.#bars.length - 1;
    const at = this.#to < 0 ? last + (by < 0 ? 1 : 0) : this.#to;
    this.#to = Math.max(0, Math.min(last, at + by));
    if (!isSelecting || this.#from < 0) this.#from = this.#to;
    this.#draw();
  }

  #chosen() {
    return this.#bars.slice(Math.min(this.#from, this.#to), Math.max(this.#from, this.#to) + 1);
  }

  #apply() {
    const chosen = this.#chosen();
    const query = new URLSearchParams(this.#panel.root.dataset.query);
    for (const name of ["range", "from", "to"]) query.delete(name);
    query.set("from", new Date(Number(chosen[0].dataset.start)).toISOString());
    query.set("to", new Date(Number(chosen.at(-1).dataset.end)).toISOString());
    this.#panel.show(query);
  }

  #draw() {
    const chosen = this.#chosen();
    const mark = this.#plot.querySelector(".log-chosen");
    mark.setAttribute("x", Math.min(this.#from, this.#to) * 10);
    mark.setAttribute("width", chosen.length * 10);
    mark.setAttribute("visibility", "visible");
    const reading = this.#panel.root.querySelector(".log-reading");
    this.#hint ??= reading.textContent;
    reading.textContent = this.#says(chosen);
  }

  #says(bars) {
    const sums = LEVELS.map((_, place) => bars.reduce((sum, { dataset }) => sum + Number(dataset.counts.split(",")[place]), 0));
    const named = LEVELS.map((word, place) => (sums[place] ? `${this.#name(word)} ${sums[place].toLocaleString()}` : "")).filter(Boolean);
    const time = `${clockTime(Number(bars[0].dataset.start))} – ${clockTime(Number(bars.at(-1).dataset.end))}`;
    return `${time}: ${named.reverse().join(" · ") || this.#panel.root.querySelector(".log-chart").dataset.none}`;
  }

  #name(word) {
    return this.#panel.root.querySelector(`#level-${word} > span`).textContent;
  }

  #forget() {
    this.#isDragging = false;
    if (this.#from < 0) return;
    this.#from = this.#to = -1;
    this.#plot?.querySelector(".log-chosen")?.setAttribute("visibility", "hidden");
    const reading = this.#panel.root.querySelector(".log-reading");
    if (reading && this.#hint !== null) reading.textContent = this.#hint;
  }
}
