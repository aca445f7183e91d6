// Notices at the edge of the page. `document.dispatchEvent(new CustomEvent("toast", {detail: {kind, text, retry, brief, key}}))`:
// `kind` is success, error, warning or info, `retry` a function that a button offers, `brief` goes away by itself, and
// a notice of the same `key` (else of the same text) is said once, with the count.
// `actions` are [{text, href} or {text, run}]: a link, or a button whose `run(toast)` decides whether the notice goes.
// With `renew` the notice of the same `key` becomes this one instead of being counted.
// Event on `document`: "toast:dismissed" {key} when somebody closed one.

const region = document.getElementById("toasts");
const BRIEF_MS = 4000;
const LONG_MS = 9000;

function dismiss(toast) {
  toast.remove();
}

function link({ text, href }) {
  const made = document.createElement("a");
  made.className = "button";
  made.href = href;
  made.textContent = text;
  return made;
}

function actionBar(toast, actions) {
  const bar = document.createElement("span");
  bar.className = "toast-actions";
  bar.append(...actions.map((one) => (one.href ? link(one) : button(one.text, () => one.run(toast)))));
  return bar;
}

function button(text, action) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "button";
  made.textContent = text;
  made.addEventListener("click", action);
  return made;
}

function closer(toast) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "icon-button";
  made.textContent = "×";
  made.setAttribute("aria-label", region.dataset.close);
  made.addEventListener("click", () => {
    dismiss(toast);
    document.dispatchEvent(new CustomEvent("toast:dismissed", { detail: { key: toast.dataset.key } }));
  });
  return made;
}

function again(toast) {
  const count = Number(toast.dataset.count || 1) + 1;
  toast.dataset.count = count;
  toast.querySelector("p").textContent = `${toast.dataset.text} (${region.dataset.times.replace("%s", count)})`;
  return toast;
}

export function notify({ kind = "info", text, retry, brief = false, key = text, actions = [], renew = false }) {
  const known = [...region.children].find((toast) => toast.dataset.key === key);
  if (known && !renew) return again(known);
  const toast = document.getElementById(`toast-${kind}`).content.firstElementChild.cloneNode(true);
  toast.dataset.key = key;
  toast.dataset.text = text;
  toast.querySelector("p").textContent = text;
  if (actions.length) toast.querySelector("p").append(actionBar(toast, actions));
  if (retry) toast.append(button(region.dataset.retry, () => { dismiss(toast); retry(); }));
  toast.append(closer(toast));
  const hadFocus = known?.contains(document.activeElement);
  known ? known.replaceWith(toast) : region.append(toast);
  if (hadFocus) toast.querySelector("button").focus();
  leaveByItself(toast, kind, brief);
  return toast;
}

// Errors and warnings stay until they are dismissed; nothing leaves under the pointer or the focus.
function leaveByItself(toast, kind, brief) {
  if (kind === "error" || kind === "warning") return;
  const timer = setInterval(() => {
    if (toast.matches(":hover, :focus-within")) return;
    clearInterval(timer);
    dismiss(toast);
  }, brief ? BRIEF_MS : LONG_MS);
}

export function forget(key) {
  for (const toast of [...region.children]) if (toast.dataset.key === key) dismiss(toast);
}

region.addEventListener("click", (event) => {
  if (event.target.closest("[data-dismiss]")) dismiss(event.target.closest(".toast"));
});
for (const toast of region.querySelectorAll(".toast.is-success, .toast.is-info, .toast.is-debug")) leaveByItself(toast, "info", false);

document.addEventListener("toast", (event) => notify(event.detail));

// A request of htmx that failed: what was on the page stays on it.
function failed(event, text) {
  const { elt, pathInfo, requestConfig, target } = event.detail;
  const path = pathInfo?.finalRequestPath ?? pathInfo?.requestPath ?? requestConfig?.path;
  const retry = requestConfig?.verb === "get" && elt?.isConnected ? () => htmx.ajax("GET", path, { source: elt, target, swap: "morph" }) : undefined;
  notify({ kind: "error", text, retry, key: "request-failed" });
}
document.addEventListener("htmx:sendError", (event) => failed(event, region.dataset.failed));
document.addEventListener("htmx:timeout", (event) => failed(event, region.dataset.failed));
document.addEventListener("htmx:responseError", (event) => {
  const refused = event.detail.xhr.status >= 400 && event.detail.xhr.status < 500;
  failed(event, refused ? region.dataset.refused : region.dataset.failed);
});
document.addEventListener("htmx:afterOnLoad", () => forget("request-failed"));
