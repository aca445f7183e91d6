// The history page: filters that apply when they are chosen, and rows without end.

import { endless } from "./endless.js";

const filters = document.getElementById("filters");
const range = document.getElementById("filter-range");
const custom = document.getElementById("custom");
const zone = document.body.dataset.timeZone || Intl.DateTimeFormat().resolvedOptions().timeZone;

// A link may say its times in another zone than the one in which they are typed here.
function inZone(instant) {
  const format = new Intl.DateTimeFormat("sv", { timeZone: zone, dateStyle: "short", timeStyle: "medium" });
  return format.format(new Date(instant)).replace(" ", "T");
}
for (const field of custom.querySelectorAll("[data-instant]")) field.value = inZone(field.dataset.instant);

// Two times are typed, everything else is chosen; what the form does not use stays out of the address.
function showCustom() {
  const isCustom = range.value === range.dataset.custom;
  custom.hidden = !isCustom;
  custom.disabled = !isCustom;
}

filters.addEventListener("change", (event) => {
  showCustom();
  if (event.target === range && !custom.hidden) custom.querySelector("input").focus();
  else if (event.target.matches("select")) filters.requestSubmit();
});
filters.addEventListener("submit", () => {
  filters.elements.zone.value = zone;
  if (!custom.hidden) range.disabled = true; // "custom" is said by the two times
  for (const field of filters.querySelectorAll("select, input")) field.disabled ||= field.value === "";
});
addEventListener("pageshow", () => {
  for (const field of filters.querySelectorAll("select, input")) field.disabled = false;
  showCustom();
});

showCustom();
const rows = document.getElementById("rows");
if (rows) endless(rows);
