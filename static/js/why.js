// Keeps the panel "why is this red?" true: it is fetched again when alerts or the state of the server changed, and,
// while something is wrong, now and then as samples arrive.

import { swapAll } from "./live/swap.js";

const SOON_MS = 300;
const CHANGED_MS = 2_000; // at the least between two looks
const SAMPLES_MS = 10_000;
const TIMEOUT_MS = 15_000;

let state = document.querySelector(".vitals")?.className;
let lookedAt = Date.now();
let timer = 0;

const panel = () => document.querySelector("[data-why]");

function lookWithin(least) {
  if (timer || document.hidden) return;
  timer = setTimeout(look, Math.max(SOON_MS, lookedAt + least - Date.now()));
}

async function look() {
  timer = 0;
  lookedAt = Date.now();
  const address = panel()?.dataset.why;
  if (!address) return;
  try {
    const answer = await fetch(address, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (answer.ok) swapAll(await answer.text());
  } catch {
    // What is known stays; the next change looks again, and the page says itself that the portal does not answer.
  }
}

document.addEventListener("live:swapped", ({ detail: { swapped } }) => {
  const vitals = [...swapped.values()].find(({ id }) => id.startsWith("vitals-"));
  if (swapped.has("alerts") || (vitals && vitals.className !== state)) lookWithin(CHANGED_MS);
  state = vitals?.className ?? state;
  const hasSamples = [...swapped.keys()].some((id) => id.startsWith("samples-"));
  if (hasSamples && panel()?.hasAttribute("data-open")) lookWithin(SAMPLES_MS);
});
for (const event of ["live:epoch", "live:refresh"]) document.addEventListener(event, () => lookWithin(CHANGED_MS));
document.addEventListener("visibilitychange", () => lookWithin(CHANGED_MS));
