// A card that has come before is put in without being parsed: what stands between its quotes and its tags is compared,
// and what differs is written to the nodes that have it. Parsing it and comparing trees takes three times as long.
//
// Nothing is believed of the page but that the same elements are there and that nobody else draws: each other value is
// compared with what the page shows, and a card that is built otherwise than before, or has a value to decode, is left to
// the parser.

import { show, timesIn } from "../time.js";

const [BEGIN, END] = ['<article id="server-', "</article>"]; // cards are fragments of their own, never within another
const ID_AT = '<article id="'.length;
const NAME = /([^\s"<>=]+)=$/;
const outlines = new WeakMap(); // card → { parts, marks, slots, times, elements, count }

/**
 * Put each known card of `html` into the page and call `put(element)`. Returns what is left for the parser and, by id,
 * the cards in it.
 */
export function putKnown(html, put) {
  const [left, unknown] = [[], new Map()];
  let read = 0;
  for (let begin = html.indexOf(BEGIN); begin >= 0; begin = html.indexOf(BEGIN, read)) {
    const end = html.indexOf(END, begin) + END.length;
    if (end < begin) break;
    const card = html.slice(begin, end);
    const id = card.slice(ID_AT, card.indexOf('"', ID_AT));
    const element = document.getElementById(id);
    const isPut = element !== null && fill(element, card);
    if (!isPut) unknown.set(id, card);
    left.push(html.slice(read, isPut ? begin : end));
    if (isPut) put(element);
    read = end;
  }
  return { left: left.join("") + html.slice(read), unknown };
}

/** `element` has just become what `card` says. */
export function remember(element, card) {
  const parts = partsOf(card);
  const marks = parts.map((part, place) => (place % 2 ? null : marksOf(part)));
  const elements = element.getElementsByTagName("*"); // live: of another length once somebody has added an element
  const slots = [...slotsOf(parts, marks, [element, ...elements], element)];
  if (!slots.every(isSure)) return;
  outlines.set(element, { parts, marks, slots, times: timesIn(element), elements, count: elements.length });
}

// Attributes' values have odd places; the others are what is between them: ends of tags, texts, beginnings of tags.
function partsOf(card) {
  const parts = card.split('"');
  parts[0] = `>${parts[0]}`;
  return parts;
}

// Of a part between attributes: texts have odd places, tags even ones.
function marksOf(part) {
  return part.split(/[<>]/);
}

// What of `parts` may differ from one time to the next, with the node that has it.
function* slotsOf(parts, marks, elements, root) {
  const texts = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  let element = -1;
  for (const [place, part] of parts.entries()) {
    if (place % 2) {
      yield slot(elements[element], NAME.exec(parts[place - 1])?.[1], { place, raw: part });
      continue;
    }
    for (const [mark, raw] of marks[place].entries()) {
      if (mark % 2 && raw) yield slot(texts.nextNode(), null, { place, mark, raw });
      else if (mark && /^[a-z]/i.test(raw)) element += 1;
    }
  }
}

// The text of a time is the server's only until it is said in the person's words.
function slot(node, name, said) {
  const isOurs = !name && node?.parentNode.matches("time[datetime]");
  return { node, name, isOurs, isDrawn: node instanceof SVGElement, ...said, value: node && valueOf({ node, name }) };
}

function valueOf({ node, name }) {
  return name ? node.getAttribute(name) : node.data;
}

function isSure({ node, isOurs, raw, value }) {
  return node && (isOurs || raw === value || raw.includes("&"));
}

function fill(element, card) {
  const outline = outlines.get(element);
  if (!outline || outline.elements.length !== outline.count) return false;
  const parts = partsOf(card);
  const marks = marksLike(outline, parts);
  if (!marks) return false;
  const said = outline.slots.map(({ place, mark }) => (place % 2 ? parts[place] : marks[place][mark]));
  if (!outline.slots.every((slot, n) => slot.node.isConnected && (said[n] === slot.raw || !said[n].includes("&")))) return false;
  outline.slots.forEach((slot, n) => write(slot, said[n]));
  [outline.parts, outline.marks] = [parts, marks];
  outline.times.forEach(show);
  return true;
}

// The marks of the parts, or null if the tags are not those that are known, or texts are not where texts were.
function marksLike(known, parts) {
  if (parts.length !== known.parts.length) return null;
  const marks = known.marks.slice();
  for (let place = 0; place < parts.length; place += 2) {
    if (parts[place] === known.parts[place]) continue;
    const [fresh, old] = [marksOf(parts[place]), marks[place]];
    if (fresh.length !== old.length) return null;
    if (!fresh.every((mark, n) => (n % 2 ? Boolean(mark) === Boolean(old[n]) : mark === old[n]))) return null;
    marks[place] = fresh;
  }
  return marks;
}

function write(slot, said) {
  if (slot.isDrawn && said === slot.raw) return;
  if (said !== slot.raw) [slot.raw, slot.value] = [said, said];
  if (slot.isOurs || valueOf(slot) === slot.value) return;
  if (slot.name) slot.node.setAttribute(slot.name, slot.value);
  else slot.node.data = slot.value;
}
