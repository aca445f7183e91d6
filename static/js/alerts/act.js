// Acknowledging, releasing, silencing and commenting: shown at once, sent, and taken back when the portal refuses.

import { localise } from "../time.js";
import { notify } from "../toasts.js";

const TIMEOUT_MS = 15_000;
const ZONE = document.body.dataset.timeZone || Intl.DateTimeFormat().resolvedOptions().timeZone;
const words = () => document.getElementById("act-words").dataset;

/** Open the sheet `name`; an act's for `row`. False when there is none, or not for this row: then the link is followed. */
export function openSheet(name, row) {
  const sheet = document.getElementById(`sheet-${name}`);
  if (!sheet || (name !== "keys" && !row)) return false;
  if (row) aim(sheet, row);
  sheet.showModal();
  sheet.querySelector("input:checked, textarea")?.focus();
  return true;
}

// The form acts on this row from now on.
function aim(sheet, row) {
  const form = sheet.querySelector("form");
  if (form.dataset.row !== row.id) form.reset();
  form.dataset.row = row.id;
  form.action = `${row.dataset.url}${form.dataset.act}/`;
  form.querySelector(".sheet-what").textContent = `${row.dataset.server} · ${row.dataset.what}`;
  const select = form.querySelector("[name=metric]");
  if (select) offer(select, JSON.parse(row.dataset.metrics));
}

function offer(select, metrics) {
  const chosen = select.value;
  const options = metrics.map(([name, label]) => new Option(label, name, false, name === chosen));
  select.replaceChildren(select.options[0], ...options);
}

/** Send the form; what it is about shows the outcome at once. */
export function submit(form) {
  const fields = new FormData(form);
  if (fields.has("zone")) fields.set("zone", ZONE);
  form.closest("dialog")?.close();
  send({ form, fields, address: form.action, act: form.dataset.act, id: aboutId(form) });
}

function aboutId(form) {
  return form.dataset.row ?? `incident-${form.closest("#acts").dataset.incident}`;
}

async function send(sent) {
  const undo = foresee(sent);
  const buttons = [...sent.form.querySelectorAll("button")];
  buttons.forEach((button) => (button.disabled = true));
  try {
    const headers = { "HX-Request": "true", "HX-Target": sent.id, "HX-Current-URL": location.href };
    const answer = await fetch(sent.address, { method: "POST", body: sent.fields, headers, signal: AbortSignal.timeout(TIMEOUT_MS) });
    const text = await answer.text();
    if (answer.ok) done(sent, text);
    else refused(sent, answer, text, undo);
  } catch {
    undo();
    notify({ kind: "error", text: words().failed, key: "act-failed", retry: () => send(sent) });
  } finally {
    buttons.forEach((button) => (button.disabled = false));
  }
}

function done({ form, act, id }, html) {
  const element = document.getElementById(id);
  const fresh = document.createElement("template");
  fresh.innerHTML = html;
  const found = fresh.content.getElementById(id);
  if (element && found) {
    localise(found);
    Idiomorph.morph(element, found, { morphStyle: "outerHTML" });
  }
  form.reset();
  notify({ kind: "success", text: words()[`done${act[0].toUpperCase()}${act.slice(1)}`], brief: true });
}

function refused(sent, answer, text, undo) {
  undo();
  const signIn = answer.headers.get("HX-Redirect");
  if (signIn) {
    location.assign(signIn);
    return;
  }
  const said = answer.headers.get("Content-Type")?.startsWith("text/plain") && answer.status < 500;
  const retry = answer.status >= 500 ? () => send(sent) : undefined;
  const plain = { 403: words().refused, 404: words().gone }[answer.status] ?? words().failed;
  notify({ kind: answer.status === 409 ? "warning" : "error", text: said ? text : plain, key: "act-failed", retry });
  if (answer.status === 422) sent.form.closest("dialog")?.showModal();
}

// What will most likely be true, marked as on its way; returns how to take it back, unless the truth has come meanwhile.
function foresee({ act, id }) {
  const element = document.getElementById(id);
  if (!element) return () => {};
  element.classList.add("is-sending");
  element.setAttribute("aria-busy", "true");
  const undos = [...FORESEEN[act](element), mark(element)];
  return () => {
    if (!element.classList.contains("is-sending")) return;
    element.classList.remove("is-sending");
    element.removeAttribute("aria-busy");
    undos.forEach((undo) => undo());
  };
}

// Each shows the outcome of an act in `element`, a row or the state of an incident, and returns the ways back.
const FORESEEN = {
  acknowledge: (element) => [say(element, "status", words().acknowledged), say(element, "owner", words().me)],
  release: (element) => [say(element, "status", words().firing), say(element, "owner", words().nobody)],
  silence: (element) => [append(element, "told", "is-silenced", words().silenced)],
  unsilence: (element) => [...element.querySelectorAll(".is-silenced")].map(away),
  comment: () => [],
};

function say(element, name, text) {
  const part = element.querySelector(`[data-part="${name}"]`);
  const kept = part.cloneNode(true);
  part.textContent = text;
  return () => part.replaceWith(kept);
}

function append(element, name, className, text) {
  const list = element.querySelector(`[data-part="${name}"]`);
  const made = document.createElement(list.matches("ul") ? "li" : "span");
  made.className = className;
  made.textContent = text;
  list.append(made);
  return () => made.remove();
}

function away(element) {
  element.hidden = true;
  return () => (element.hidden = false);
}

function mark(element) {
  return append(element, "mark", "on-its-way", words().onItsWay);
}

// A typed instant is in the zone in which the page shows times.
document.querySelectorAll("[data-part=zone]").forEach((part) => (part.textContent = ZONE));
document.addEventListener("change", ({ target }) => {
  if (target.name !== "until" || !target.form?.elements.at) return;
  target.form.elements.at.required = target.value === "at";
});
