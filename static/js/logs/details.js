// A line opens in place: what it says as a whole, its fields, the lines around it.

import { fetched } from "../endless.js";
import { localise } from "../time.js";

export class Details {
  #panel;

  constructor(panel) {
    this.#panel = panel;
    panel.list.scroller.addEventListener("click", (event) => this.#onClick(event));
  }

  #onClick(event) {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
    const line = event.target.closest(".log-page > .log-line");
    const copied = event.target.closest("[data-copy-link]");
    if (copied) this.#copyLink(copied.dataset);
    else if (event.target.closest("[data-close-line]")) this.close(line);
    else if (line && !event.target.closest(".log-details") && getSelection().isCollapsed) {
      event.preventDefault();
      this.#toggle(line);
    }
  }

  async #copyLink({ copyLink, copied }) {
    await navigator.clipboard.writeText(new URL(copyLink, location.href).href).catch(() => null);
    this.#panel.toast("success", copied);
  }

  #toggle(line) {
    if (line.querySelector(".log-details")) this.close(line);
    else this.open(line);
  }

  async open(line) {
    const link = line.querySelector(".log-open");
    if (line.hasAttribute("aria-busy")) return;
    link.focus({ preventScroll: true });
    line.setAttribute("aria-busy", "true");
    try {
      const details = await fetched(this.#panel.lines({ context: line.dataset.position }));
      localise(details);
      line.append(details);
      link.setAttribute("aria-expanded", "true");
      this.#remember(line.dataset.position);
      this.#panel.reading();
    } catch ({ status }) {
      this.#panel.toast("error", status === 404 ? this.#panel.root.dataset.wordGone : this.#panel.root.dataset.wordUnread);
    } finally {
      line.removeAttribute("aria-busy");
    }
  }

  /** Whether there was something to close. */
  close(line) {
    const details = line?.querySelector(".log-details");
    if (!details) return false;
    details.remove();
    const link = line.querySelector(".log-open");
    link.removeAttribute("aria-expanded");
    link.focus({ preventScroll: true });
    this.#remember(null);
    this.#panel.reading();
    return true;
  }

  // Back comes to the line that was open.
  #remember(position) {
    if (!this.#panel.root.dataset.panel) history.replaceState({ ...history.state, logLine: position }, "");
    this.#panel.list.remember();
  }

  /** Show again which line was open when the page was left. */
  comeBack(position) {
    const line = document.getElementById(`line-${position}`);
    if (!line) return;
    line.classList.add("is-at");
    const link = line.querySelector(".log-open");
    link.focus({ preventScroll: true });
    line.scrollIntoView({ block: "nearest" });
  }
}
