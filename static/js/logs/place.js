// Where lines stand in the list. A position is "<instant>-<number>"; lines are in the order of their positions, newest
// first, and the pages of the list go without a hole from the first line down to data-oldest of the last page.

export const PAGE = 50;

/** Below 0 when `one` is older, 0 when it is the same. */
export function compare(one, other) {
  const [a, b] = [one.split("-"), other.split("-")];
  return compareDigits(a[0], b[0]) || compareDigits(a[1], b[1]);
}

function compareDigits(one, other) {
  if (one.length !== other.length) return one.length - other.length;
  return one < other ? -1 : one > other ? 1 : 0;
}

/** What is older than it begins with the line at `position`. */
export function after(position) {
  const [instant, number] = position.split("-");
  return `${instant}-${BigInt(number) + 1n}`;
}

/** The position of the newest line of the list; "" when there is none. */
export function newest(list) {
  return list.scroller.querySelector("[data-position]")?.dataset.position ?? "";
}

/** Page → those of `lines`, newest first, that belong to it; what will be fetched with a further page is dropped. */
export function placesOf(list, lines) {
  const pages = list.pages;
  const found = new Map();
  for (const line of lines) {
    const { position } = line.dataset;
    const page = pages.find(({ dataset }) => dataset.oldest && compare(position, dataset.oldest) >= 0) ?? atEnd(pages, position);
    if (page) found.set(page, [...(found.get(page) ?? []), line]);
  }
  return found;
}

/** Put lines into their pages, which are not empty ones; those that are there already are dropped. */
export function insert(places) {
  for (const [page, lines] of places) merge(page, lines);
}

// Below the last page, when that is where the list ends.
function atEnd(pages, position) {
  const last = pages.at(-1);
  if (last.dataset.next) return null;
  last.dataset.oldest = position;
  return last;
}

function merge(page, lines) {
  let next = page.firstElementChild;
  for (const line of lines) {
    const { position } = line.dataset;
    while (next?.dataset.position && compare(next.dataset.position, position) > 0) next = next.nextElementSibling;
    if (next?.dataset.position === position) continue;
    page.insertBefore(line, next);
  }
}

/** Make pages of what the first page has grown by. `address(part)` is that of a page. */
export function split(list, address) {
  const page = list.pages[0];
  while (page.children.length >= 2 * PAGE) {
    const rest = page.cloneNode(false);
    const lines = [...page.children];
    const cut = Math.max(PAGE, lines.length - PAGE);
    rest.append(...lines.slice(cut));
    rest.dataset.previous = address({ newer: rest.firstElementChild.dataset.position });
    page.dataset.oldest = lines[cut - 1].dataset.position;
    page.dataset.next = address({ older: page.dataset.oldest });
    page.after(rest);
  }
}

/** Let the list end at `position`: what is older is fetched again when somebody scrolls there. */
export function cutBelow(list, position, address) {
  const pages = list.pages;
  const place = pages.findIndex(({ dataset }) => dataset.oldest && compare(position, dataset.oldest) >= 0);
  if (place < 0) return;
  for (const line of [...pages[place].children]) {
    if (!line.dataset.position || compare(line.dataset.position, position) < 0) line.remove();
  }
  pages[place].dataset.oldest = position;
  pages[place].dataset.next = address({ older: position });
  delete pages[place].dataset.halt;
  list.trim(place + 1);
}
