// Whether a key that is pressed on `element` is a letter somebody types, and no command.

export function isTyping(element) {
  return element.closest?.("input, textarea, select, [contenteditable]") !== null;
}
