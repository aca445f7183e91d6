// Keeps the page live: watches what it shows ([data-live="topic:key"]), morphs in what is pushed, says how it stands.
//
// Events on `document`: "live:swapped" {id, element}, "live:gone" {topic}, "live:refused" {topics},
// "live:epoch" (the server's hub is another one: whoever keeps a cursor fetches anew),
// "live:state" {state, reason, since} with state connected, connecting, lost or unknown.
// A script that adds or removes [data-live] elements by itself dispatches "live:rescan".
// `?live=debug` in the address logs every frame and every reconnect.

import { Connection } from "./live/connection.js";
import { Status, newestData } from "./live/status.js";
import { announce, swapAll } from "./live/swap.js";
import { localise, serverNow, setServerClock } from "./time.js";

const PATH = "/ws/live/";
const LONGEST_ADDRESS = 4_000; // of the socket; servers take 8 KB. What does not fit is asked for once it is open
const PACE = { visible: "high", hidden: "60" };

const debug = new URLSearchParams(location.search).get("live") === "debug";
const log = debug ? (...what) => console.log("live:", ...what) : () => {};

let watched = new Set(); // what the open socket was told
let epoch = "";

const connection = new Connection(makeUrl);
const status = new Status(connection);
connection.addEventListener("message", ({ detail }) => hear(detail));
connection.addEventListener("closed", ({ detail }) => {
  log(`closed with ${detail.code}, next try in`, detail.retryInMs === null ? "–" : `${Math.round(detail.retryInMs)} ms`);
});

function wanted() {
  const named = [...document.querySelectorAll("[data-live]")].flatMap((element) => element.dataset.live.split(/\s+/));
  return new Set(named.filter(Boolean));
}

function pace() {
  return document.hidden ? PACE.hidden : PACE.visible;
}

function makeUrl() {
  const address = new URLSearchParams({ lang: document.documentElement.lang, pace: pace() });
  watched = new Set();
  for (const topic of wanted()) {
    if (address.toString().length + topic.length > LONGEST_ADDRESS) break;
    address.append("topic", topic);
    watched.add(topic);
  }
  log("connecting,", watched.size, "topics");
  return `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}${PATH}?${address}`;
}

/** Tell the socket what the page shows now and did not before, and the other way round. */
function rescan() {
  const now = wanted();
  const watch = [...now].filter((topic) => !watched.has(topic));
  const unwatch = [...watched].filter((topic) => !now.has(topic));
  if (!watch.length && !unwatch.length) return;
  if (!connection.send({ ...(watch.length && { watch }), ...(unwatch.length && { unwatch }) })) return;
  watched = now;
  log("watching", watched.size, "topics, new:", watch, "left:", unwatch);
}

function hear(text) {
  if (text.startsWith("{")) obey(JSON.parse(text));
  else takeFrame(text);
}

function obey(said) {
  if ("pong" in said) connection.pong(said.pong);
  if (said.error) log("the server says:", said.error);
  if (said.refused) {
    log("may not watch", said.refused);
    announce("live:refused", { topics: said.refused });
  }
}

function takeFrame(html) {
  status.countFrame();
  swapAll(html);
  if (debug) logFrame(html);
  rescan(); // a fragment may bring others with it; and on a new socket, what its address had no room for
}

function logFrame(html) {
  const frame = new DOMParser().parseFromString(html, "text/html");
  for (const { id, outerHTML, dataset } of frame.body.children) {
    log(id, `${outerHTML.length} characters,`, dataset.at ? `${Math.round(serverNow() - dataset.at)} ms old` : "no stamp");
  }
}

document.addEventListener("live:swapped", ({ detail: { id, element } }) => {
  if (id !== "live-beat") return;
  setServerClock(Number(element.dataset.at));
  status.hear(element.dataset);
  if (epoch && epoch !== element.dataset.epoch) announce("live:epoch", {});
  epoch = element.dataset.epoch;
});
document.addEventListener("live:state", ({ detail }) => log("state", detail.state, detail.reason, "newest data", newestData()));
for (const event of ["htmx:afterSettle", "htmx:historyRestore", "live:gone", "live:rescan"]) {
  document.addEventListener(event, rescan);
}
document.addEventListener("visibilitychange", () => connection.send({ pace: pace() }));

localise(document);
connection.retryNow();
