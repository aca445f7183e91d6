// Keys of the pages of incidents. The focus is the mark: a key acts on the row that has it, else on the first.

import { openSheet } from "./act.js";
export { isTyping } from "../typing.js";

const STEPS = { j: 1, ArrowDown: 1, k: -1, ArrowUp: -1 };
const ACTS = { a: "acknowledge", s: "silence", c: "comment" };

/** Whether the key did something. */
export function press(key, rows) {
  if (key in STEPS) return step(STEPS[key], rows, key.length > 1);
  if (key in ACTS) return rows.length ? actOn(ACTS[key], current(rows) ?? rows[0]) : goTo(ACTS[key]);
  if (key === "?") return openSheet("keys", null);
  if (key === "/") return focus(document.getElementById("filter-text"));
  return false;
}

const current = (rows) => rows.find((row) => row.contains(document.activeElement));

// Arrows scroll the page until a row has the focus.
function step(by, rows, isArrow) {
  const at = rows.indexOf(current(rows));
  if (isArrow && at < 0) return false;
  const row = rows[at < 0 ? 0 : Math.max(0, Math.min(rows.length - 1, at + by))];
  return focus(row?.querySelector(".incident-open"));
}

function actOn(act, row) {
  const opener = row.querySelector(`[data-sheet="${act}"]`);
  if (!opener) return false;
  row.querySelector(".incident-open").focus();
  return openSheet(act, row);
}

// On the page of one incident the forms are there already.
function goTo(act) {
  const form = document.getElementById(act);
  if (!form?.matches("form")) return false;
  const details = form.closest("details");
  if (details) details.open = true;
  return focus(form.querySelector("input:checked, textarea"));
}

function focus(element) {
  if (!element?.checkVisibility()) return false;
  element.focus();
  element.scrollIntoView({ block: "nearest" });
  return true;
}
