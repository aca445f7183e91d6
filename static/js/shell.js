// The frame around every page: theme, density, menus, the connection word, copy buttons.

import { localise } from "./time.js";

const YEAR_S = 365 * 86400;

function choose(name, value) {
  document.cookie = `${name}=${value};path=/;max-age=${YEAR_S};samesite=lax${location.protocol === "https:" ? ";secure" : ""}`;
  document.documentElement.dataset[name] = value;
  for (const button of document.querySelectorAll(`[data-choose="${name}"] > button`)) {
    button.setAttribute("aria-pressed", String(button.value === value));
  }
  document.dispatchEvent(new CustomEvent("display:changed", { detail: { name, value } }));
}

function closeMenus(except) {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (menu !== except) menu.open = false;
  }
}

async function copy(button) {
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
  } catch {
    const code = button.parentElement.querySelector("code");
    getSelection().selectAllChildren(code);
    document.execCommand("copy");
  }
  document.dispatchEvent(new CustomEvent("toast", { detail: { kind: "success", text: button.dataset.copied, brief: true } }));
}

document.addEventListener("click", (event) => {
  const chosen = event.target.closest("[data-choose] > button");
  if (chosen) choose(chosen.parentElement.dataset.choose, chosen.value);
  const copied = event.target.closest("[data-copy]");
  if (copied) copy(copied);
  closeMenus(event.target.closest("details.menu"));
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const menu = document.activeElement?.closest("details.menu[open]");
  closeMenus(null);
  menu?.querySelector("summary").focus();
});

// A form that comes back to where it was sent from means the address as it is now, filters and all.
document.addEventListener("submit", (event) => {
  if (event.target.matches("[data-come-back]")) event.target.elements.next.value = location.pathname + location.search;
});

function showConnection({ state, reason, since }) {
  document.documentElement.dataset.connection = state;
  const word = document.getElementById("connection");
  if (!word || (word.dataset.state === state && word.dataset.reason === reason)) return;
  word.dataset.state = state;
  word.dataset.reason = reason;
  const said = ["offline", "signed-out"].includes(reason) ? reason : state;
  for (const one of word.querySelectorAll("[data-when]")) one.hidden = one.dataset.when !== said;
  for (const time of word.querySelectorAll("time")) time.dateTime = new Date(since).toISOString();
  localise(word);
}

document.addEventListener("live:state", (event) => showConnection(event.detail));
// The system's theme changed under a page that follows it: charts have to be drawn again.
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  document.dispatchEvent(new CustomEvent("display:changed", { detail: { name: "theme", value: "system" } }));
});
