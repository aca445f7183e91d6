// The menus of servers and sources: filled when one is opened, applied when it is closed.

import { fetched } from "../endless.js";

const MANY = 12; // so many need a search of their own

export class Choices {
  #panel;
  #isLoaded = false;
  #before = "";

  constructor(panel) {
    this.#panel = panel;
    for (const menu of panel.form.querySelectorAll(".log-menu")) {
      menu.addEventListener("toggle", () => (menu.open ? this.#opened() : this.#closed()));
      menu.querySelector(".log-find").addEventListener("input", (event) => this.#find(menu, event.target.value));
    }
  }

  async #opened() {
    if (!this.#isLoaded) await this.#load();
    this.#before = this.#chosen();
  }

  #closed() {
    if (this.#isLoaded && this.#chosen() !== this.#before) this.#panel.form.requestSubmit();
  }

  #chosen() {
    return new URLSearchParams(new FormData(this.#panel.form)).toString();
  }

  async #load() {
    const { choices, query } = this.#panel.root.dataset;
    const fresh = await fetched(`${choices}?${query}`).catch(() => null);
    if (!fresh) return;
    for (const list of this.#panel.form.querySelectorAll("[data-list]")) {
      const filled = fresh.querySelector(`[data-choices="${list.dataset.list}"]`);
      list.parentElement.querySelector(".log-find").hidden = filled.children.length <= MANY;
      list.replaceChildren(filled);
    }
    this.#isLoaded = true;
  }

  #find(menu, text) {
    for (const one of menu.querySelectorAll("[data-choices] > li")) {
      one.hidden = !one.textContent.toLocaleLowerCase().includes(text.toLocaleLowerCase());
    }
  }
}
