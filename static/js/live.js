// Keeps the page live: watches what it shows ([data-live="topic:key"]), morphs in what comes, says how it stands.
//
// Events on `document`: "live:swapped" {swapped: id → element}, "live:gone" {topic}, "live:refused" {topics},
// "live:epoch" (the server's hub is another one: whoever keeps a cursor fetches what came after it), "live:refresh"
// (somebody asked for everything anew: lists and panels are fetched too), "live:state" {state, reason, since, transport}
// with state connected, connecting, lost or unknown.
// A script that adds or removes [data-live] elements by itself dispatches "live:rescan".
// `?live=debug` in the address logs every frame and every reconnect.

import { Connection } from "./live/connection.js";
import { log, logFrame } from "./live/debug.js";
import { Status } from "./live/status.js";
import { announce, swapAll } from "./live/swap.js";
import { topicsOnScreen } from "./live/view.js";
import { localise, setServerClock } from "./time.js";

let epoch = "";

const connection = new Connection(topicsOnScreen);
const status = new Status(connection);
connection.addEventListener("message", ({ detail: { text, transport } }) => hear(text, transport));
connection.addEventListener("closed", ({ detail: { code, retryInMs } }) => {
  log(`the socket closed with ${code}, next try in`, retryInMs === null ? "–" : `${Math.round(retryInMs)} ms`);
});

/** The page shows something else now. */
function rescan() {
  const said = connection.adapt();
  if (said) log("told the socket", said);
}

function hear(text, transport) {
  if (text.startsWith("{")) obey(JSON.parse(text));
  else if (text) takeFrame(text, transport);
}

function obey(said) {
  if ("pong" in said) connection.pong(said.pong);
  if (said.error) log("the server says:", said.error);
  if (said.refused) announce("live:refused", { topics: said.refused });
}

function takeFrame(html, transport) {
  status.countFrame();
  swapAll(html);
  logFrame(html, transport);
  rescan(); // a fragment may bring others with it; and on a new socket, what its address had no room for
}

function takeBeat({ dataset }) {
  setServerClock(Number(dataset.at));
  status.hear(dataset);
  // Each question may be answered by another process: polling brings whole state anyway.
  if (connection.transport === "polling") return;
  if (epoch && epoch !== dataset.epoch) announce("live:epoch", {});
  epoch = dataset.epoch;
}

document.addEventListener("live:swapped", ({ detail: { swapped } }) => swapped.has("live-beat") && takeBeat(swapped.get("live-beat")));
document.addEventListener("live:refused", ({ detail: { topics } }) => log("may not watch", topics));
document.addEventListener("live:state", ({ detail }) => log("state", detail.state, detail.reason, "by", detail.transport || "nothing"));
for (const event of ["htmx:afterSettle", "htmx:historyRestore", "live:gone", "live:rescan", "live:view"]) {
  document.addEventListener(event, rescan);
}

localise(document);
connection.retryNow();
