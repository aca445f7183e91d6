// What `?live=debug` in the address writes to the console.

import { serverNow } from "../time.js";

const isOn = new URLSearchParams(location.search).get("live") === "debug";

/** Say so, if somebody wants to know. */
export const log = isOn ? (...what) => console.log("live:", ...what) : () => {};

/** Each fragment of a frame: its topic, its size, the age of its data, the way it came. */
export function logFrame(html, transport) {
  if (!isOn) return;
  const frame = new DOMParser().parseFromString(html, "text/html");
  for (const { id, outerHTML, dataset } of frame.querySelectorAll("body > *, head > template")) {
    const age = dataset.at ? `${Math.round(serverNow() - dataset.at)} ms old` : "no stamp";
    log(dataset.live ?? dataset.gone ?? id, `${outerHTML.length} characters,`, `${age},`, "by", transport);
  }
}
