// Where frames come from: the portal itself, or a port of its own beside it that the page was told of.

export const CREDENTIALS = "include"; // the session goes along to that port too

const place = document.body.dataset.liveUrl || location.origin;

export function liveAddress(path) {
  return place + path;
}

export function socketAddress(path) {
  return liveAddress(path).replace(/^http/, "ws");
}
