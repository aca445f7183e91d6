// Sends a form of the admin without leaving the page before it is known that it was taken: what was changed is said at
// once, marked as on its way; when the portal refuses or does not answer, nothing that was typed is lost.
//
// Its words are in the data attributes of its own <script>: data-form (id), data-sending, data-failed, data-refused.

const TIMEOUT_MS = 15_000;
const words = document.querySelector('script[src*="admin-send"]').dataset;
const form = document.getElementById(words.form);
let notice = null;

function say(kind, lines) {
  notice?.remove();
  notice = document.createElement("ul");
  notice.className = "messagelist";
  notice.setAttribute("role", "status");
  notice.append(...lines.map((line) => Object.assign(document.createElement("li"), { className: kind, textContent: line })));
  form.before(notice);
  notice.scrollIntoView({ block: "nearest" });
}

// "Critical above: 85 → 97" for each field that differs from what the page came with.
function changes() {
  return [...form.elements].flatMap((field) => {
    const label = field.labels?.[0]?.textContent.replace(/:\s*$/, "");
    const [before, now] = shownBy(field);
    return label && before !== now ? [`${label}: ${before || "–"} → ${now || "–"}`] : [];
  });
}

function shownBy(field) {
  if (field.type === "checkbox") return [field.defaultChecked ? "✓" : "", field.checked ? "✓" : ""];
  if (!field.options) return [field.defaultValue, field.value];
  const before = [...field.options].find((option) => option.defaultSelected) ?? field.options[0];
  return [before?.text, field.selectedOptions[0]?.text];
}

function setBusy(busy) {
  form.toggleAttribute("aria-busy", busy);
  for (const button of form.querySelectorAll("[type=submit]")) button.disabled = busy;
}

// Where the admin goes on; the answer that says so cannot be read by a script.
function goOn(button) {
  if (button === "_continue") return location.reload();
  const list = new URL(location.pathname.endsWith("/add/") ? "../" : "../../", location.href);
  list.search = new URLSearchParams(location.search).get("_changelist_filters") ?? "";
  return location.assign(button === "_addanother" ? new URL("add/", list) : list);
}

// The portal says in the form what is wrong with it.
function sendPlainly(button) {
  form.append(Object.assign(document.createElement("input"), { type: "hidden", name: button, value: "1" }));
  form.submit();
}

async function send(button) {
  const body = new FormData(form);
  body.set(button, "1");
  say("info is-on-its-way", [words.sending, ...changes()]);
  setBusy(true);
  const limits = { redirect: "manual", signal: AbortSignal.timeout(TIMEOUT_MS) };
  const answer = await fetch(location.href, { method: "POST", body, ...limits }).catch(() => null);
  if (answer?.type === "opaqueredirect") return goOn(button);
  setBusy(false);
  if (answer?.ok) return sendPlainly(button);
  return say("error", [answer && answer.status < 500 ? words.refused : words.failed]);
}

form?.addEventListener("submit", (event) => {
  const button = event.submitter?.name;
  if (!["_save", "_continue", "_addanother"].includes(button) || form.elements._popup) return;
  event.preventDefault();
  send(button);
});
