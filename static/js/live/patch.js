// The usual change is a number: then the elements are the same, and only texts and attributes differ. Putting these in
// takes a tenth of the time of a morph, which looks for what has moved.

// What a person may have touched, and what a morph has rules for.
const FOREIGN = "input, select, textarea, details, dialog, video, audio, iframe, [hx-preserve], [data-hx-preserve]";

/** Make `old` what `fresh` is, if it has the same elements; else false, and nothing is changed. */
export function patch(old, fresh) {
  const differing = [];
  if (fresh.querySelector(FOREIGN) || !compare(old, fresh, differing)) return false;
  for (const [one, other] of differing) put(one, other);
  return true;
}

// Whether both are built alike; pairs of which texts or attributes may differ are put into `differing`.
function compare(old, fresh, differing) {
  if (old.isEqualNode(fresh)) return true;
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || old.id !== fresh.id) return false;
  differing.push([old, fresh]);
  let [one, other] = [old.firstChild, fresh.firstChild];
  for (; one && other; one = one.nextSibling, other = other.nextSibling) if (!compare(one, other, differing)) return false;
  return !one && !other;
}

function put(old, fresh) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    old.data = fresh.data;
    return;
  }
  const { attributes } = fresh;
  for (let place = 0; place < attributes.length; place++) {
    const { name, value } = attributes[place];
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  if (old.attributes.length === attributes.length) return;
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
}
