// In a form with a scope: only the target of the chosen scope is shown, and only it is sent.
// Without this file all three are shown, and the server says which of them do not belong.
const TARGETS = ["kind", "group", "server"];

function showTarget(scope) {
  for (const name of TARGETS) {
    const field = document.getElementById(`id_${name}`);
    const box = field?.closest(".form-multiline > div, .form-row");
    if (!box) continue;
    const away = name !== scope.value && !box.querySelector(".errorlist");
    box.hidden = field.disabled = away;
  }
}

const scope = document.getElementById("id_scope");
if (scope) {
  scope.addEventListener("change", () => showTarget(scope));
  showTarget(scope);
}
