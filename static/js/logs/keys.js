// Keys of the list: j and k (or arrows, once a line has the focus) go from line to line, Enter opens one, Escape closes
// it, p pauses and goes on, / searches.

import { isTyping } from "../typing.js";

const STEPS = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 };

export function listenToKeys(panel) {
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (!document.querySelector("dialog[open]") && press(event, panel)) event.preventDefault();
  }, { signal: panel.signal });
}

function press({ key, target }, panel) {
  if (key in STEPS) return step(STEPS[key], panel.list, key.length > 1, target);
  if (key === "Escape") return panel.details.close(target.closest?.(".log-line"));
  if (key === "p") return panel.toggle() ?? true;
  if (key === "/") return focus(panel.form.elements.q);
  return false;
}

function step(by, list, isArrow, target) {
  const line = target.closest?.(".log-page > .log-line");
  if (!line) return !isArrow && focus(list.atTop().row?.querySelector(".log-open"));
  if (isArrow && target.closest(".log-details, .log-plot")) return false;
  return focus(beside(line, by)?.querySelector(".log-open"));
}

function beside(line, by) {
  const next = by > 0 ? line.nextElementSibling : line.previousElementSibling;
  if (next) return next;
  const page = by > 0 ? line.parentElement.nextElementSibling : line.parentElement.previousElementSibling;
  return by > 0 ? page?.firstElementChild : page?.lastElementChild;
}

function focus(element) {
  if (!element) return false;
  element.focus({ preventScroll: true });
  element.scrollIntoView({ block: "nearest" });
  return true;
}
