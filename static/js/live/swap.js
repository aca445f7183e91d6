// Puts what was pushed into the page, changing only what differs: focus, selection, hover and open menus stay.

import { localise, tickAlong } from "../time.js";
import { putKnown, remember } from "./outline.js";
import { patch } from "./patch.js";

const OPTIONS = {
  morphStyle: "outerHTML",
  ignoreActiveValue: true,
  callbacks: {
    beforeNodeMorphed: (old, fresh) => !(old instanceof Element) || !(isKept(old) || old.isEqualNode(fresh)),
    beforeNodeRemoved: (old) => !(old instanceof Element && isKept(old)),
    // What a person opened stays open; the server does not know about it.
    beforeAttributeUpdated: (name, element) => !(name === "open" && element.matches("details, dialog")),
    afterNodeAdded: (added) => added instanceof Element && window.htmx?.process(added),
  },
};

function isKept(element) {
  return element.hasAttribute("hx-preserve") || element.hasAttribute("data-hx-preserve");
}

/**
 * Morph each top-level element of `html` into the one with its id; what is not on this page is ignored.
 * Dispatches "live:swapped" with {swapped}, a map of id to element, once; "live:gone" with {topic} for what is no more,
 * "live:refused" with {topics} for what may not be watched.
 */
export function swapAll(html) {
  const swapped = new Map();
  const frame = document.createElement("template");
  const { left, unknown } = putKnown(html, (card) => swapped.set(card.id, card));
  frame.innerHTML = left;
  for (const fresh of [...frame.content.children]) {
    const { gone, refused } = fresh.dataset;
    if (gone) takeAway(gone);
    else if (refused) announce("live:refused", { topics: refused.split(" ") });
    else if (fresh.id) swap(fresh, swapped);
  }
  for (const [id, card] of unknown) {
    const element = document.getElementById(id);
    if (element) remember(element, card);
  }
  if (swapped.size) announce("live:swapped", { swapped }); // first: it may bring what time it is
  tickAlong();
}

function swap(fresh, swapped) {
  const old = document.getElementById(fresh.id);
  if (!old) return;
  localise(fresh);
  if (!patch(old, fresh)) window.Idiomorph.morph(old, fresh, OPTIONS);
  swapped.set(fresh.id, document.getElementById(fresh.id));
}

function takeAway(topic) {
  document.querySelectorAll(`[data-live="${CSS.escape(topic)}"]`).forEach((element) => element.remove());
  announce("live:gone", { topic });
}

export function announce(name, detail) {
  document.dispatchEvent(new CustomEvent(name, { detail }));
}
