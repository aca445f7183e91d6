// In the form of a source, beside its server too: only what the chosen collector needs is shown.
// Without this file everything is shown under headings, and only the part of the chosen collector counts.
const CHOICE = 'select[name$="collector"]';

function boxOf(root, name) {
  const field = root.querySelector(`[name$="${name}"]`);
  return field?.closest(".form-multiline > div, .form-row");
}

function show(box, wanted) {
  if (box) box.hidden = !wanted && !box.querySelector(".errorlist");
}

function showNeeded(choice) {
  const root = choice.closest(".inline-related") ?? choice.form;
  const names = (list) => (choice.dataset[list] ?? "").split(" ");
  for (const part of root.querySelectorAll(".for-collector")) part.hidden = !part.classList.contains(`for-${choice.value}`);
  show(boxOf(root, "url"), !names("withoutUrl").includes(choice.value));
  show(boxOf(root, "secret")?.closest(".form-row"), names("withSecret").includes(choice.value));
}

for (const choice of document.querySelectorAll(CHOICE)) showNeeded(choice);
document.addEventListener("change", (event) => {
  if (event.target.matches(CHOICE)) showNeeded(event.target);
});
document.addEventListener("formset:added", (event) => {
  for (const choice of event.target.querySelectorAll(CHOICE)) showNeeded(choice);
});
