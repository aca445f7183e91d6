// Fetches the page behind a link while somebody is about to follow it: pointed at, focused or touched for a moment.
//
// By speculation rules: what they fetch is kept beside the HTTP cache, for this document alone and for this one
// navigation, so that pages can stay "no-store". It is let go after some seconds; whole state comes with the connection
// of the page that is opened.

import { isSparing } from "./live/pace.js";

const SURE_MS = 65;
const KEPT_MS = 15_000;
const LIKELY = /^\/(servers\/\d+\/|alerts\/(\d+\/)?)?$/; // what may be asked for without anything happening
const rules = new Map(); // address → script

let timer = 0;

function likely(link) {
  const isPlain = link?.href && !link.target && !link.hasAttribute("download") && !link.matches("[data-list], [data-sheet], [hx-get]");
  if (!isPlain || link.origin !== location.origin || !LIKELY.test(link.pathname)) return null;
  return link.pathname === location.pathname ? null : link.pathname + link.search;
}

function prefetch(address) {
  if (rules.has(address) || isSparing()) return;
  const script = document.createElement("script");
  script.type = "speculationrules";
  script.textContent = JSON.stringify({ prefetch: [{ source: "list", urls: [address] }] });
  rules.set(address, script);
  document.head.append(script);
  setTimeout(() => {
    script.remove();
    rules.delete(address);
  }, KEPT_MS);
}

function aim({ target }) {
  clearTimeout(timer);
  const address = likely(target.closest?.("a[href]"));
  if (address) timer = setTimeout(() => prefetch(address), SURE_MS);
}

if (HTMLScriptElement.supports?.("speculationrules")) {
  for (const sign of ["pointerover", "focusin", "touchstart"]) document.addEventListener(sign, aim, { passive: true });
}
