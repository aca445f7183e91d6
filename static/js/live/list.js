// A list that keeps itself true: asked for again when what is pushed beside it says that it differs, and moved only
// while that disturbs nobody. Links marked with data-list filter and turn its pages; a click on a row opens it.

import { localise } from "../time.js";

const SOON_MS = 150;
const LATER_MS = 1000;

Idiomorph.defaults.ignoreActiveValue = true; // what is being typed is newer than any answer
// Times arrive as UTC and are said in the person's words before they are compared, so that nothing flickers.
Idiomorph.defaults.callbacks.beforeNodeMorphed = (old, fresh) => {
  if (fresh instanceof Element && fresh.matches("time")) localise(fresh);
};
Idiomorph.defaults.callbacks.beforeNodeAdded = (fresh) => {
  if (fresh instanceof Element) localise(fresh);
};

// `id` is the list's element, `row` a row of it and `opener` the link in the row; while `busy` matches the list it stays
// as it is; `around` wraps each swap, to keep the focus for example.
export function liveList({ id, row, opener, busy = ":active", around = (swap) => swap() }) {
  let waiting = null; // a refresh that is due and waits until it disturbs nobody
  const element = () => document.getElementById(id);

  function show(address) {
    return around(() => htmx.ajax("GET", address, { source: element(), target: element(), swap: "morph" }));
  }

  // Something is being selected, chosen or pressed in the list: it must not move now.
  function disturbs() {
    const selection = getSelection();
    const selecting = !selection.isCollapsed && element().contains(selection.anchorNode);
    return selecting || element().matches(busy) || document.activeElement?.matches("#filters select");
  }

  function refresh() {
    clearTimeout(waiting);
    waiting = null;
    if (!element()) return;
    if (document.hidden || disturbs()) waiting = setTimeout(refresh, LATER_MS);
    else show(location.pathname + location.search);
  }

  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
    const link = event.target.closest("a[data-list]");
    const pressed = event.target.closest(row);
    if (link) {
      event.preventDefault();
      show(link.getAttribute("href")).then(() => link.closest(".pager") && element().scrollIntoView({ block: "start" }));
    } else if (pressed && !event.target.closest("a, button") && getSelection().isCollapsed) {
      pressed.querySelector(opener).click();
    }
  });

  document.addEventListener("live:refresh", refresh);

  return {
    element,
    refresh,
    isWaiting: () => waiting !== null,
    // Ask again when the list shows another state than `digest`.
    compare(digest) {
      if (!waiting && element() && digest !== element().dataset.digest) waiting = setTimeout(refresh, SOON_MS);
    },
  };
}
