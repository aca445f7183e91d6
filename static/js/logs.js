// Logs, on their page and in the panel on a server's page, which comes when it is near the screen.

import { Panel } from "./logs/panel.js";

let panel = null;

function start() {
  const root = document.getElementById("logs");
  if (!root || root === panel?.root) return;
  panel?.stop();
  panel = new Panel(root);
  document.dispatchEvent(new CustomEvent("live:rescan"));
}

start();
document.addEventListener("htmx:load", start);
document.addEventListener("logs:shown", start);
