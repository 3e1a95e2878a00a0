// Makes what stands on the page like what came from the server, in place: what did not change is not touched, so
// that focus, selection, scroll, open details and ticked boxes stay, and nothing moves.
//
// data-keep="name": the page's own part of a fragment, left as it is.

import { later } from "./waiting.js";

//: Classes that scripts of pages put on, and attributes that belong to who reads.
const OURS = ["chosen", "at", "left", "expanded", "reading", "flash"];
const READERS = new Set(["open", "hidden"]);
//: What flashes when its text changes; a time that only grows older does not.
const FIGURE = "b, dd, .steps, .value, .last";
const still = matchMedia("(prefers-reduced-motion: reduce)");

// The first element of a fragment of our own templates, whatever it is (a tr too).
export function parsed(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content.firstElementChild;
}

export function morph(old, made) {
  const focused = document.activeElement;
  alter(old, made);
  if (focused && focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
}

const keyOf = (node) => node.id || node.dataset?.keep || "";
const alike = (old, made) => old.nodeName === made.nodeName && keyOf(old) === keyOf(made);

function alter(old, made) {
  if (old.nodeType === Node.TEXT_NODE) return write(old, made.data);
  if (old.nodeType !== Node.ELEMENT_NODE || old.dataset.keep !== undefined) return undefined;
  // a page that was asked for may come after a frame that is newer
  if (Number(old.dataset.version) > Number(made.dataset.version)) return undefined;
  attributes(old, made);
  return children(old, made);
}

function write(old, text) {
  if (old.data === text) return;
  old.data = text;
  const at = old.parentElement;
  if (at && !at.closest("time") && text.trim()) flash(at.closest(FIGURE));
}

// On and off again, both once for all that changed together: an animation of each would be painted sixty times a second.
const flashing = new Set();
const dim = later(() => {
  flashing.forEach((element) => element.classList.remove("flash"));
  flashing.clear();
}, 140);

export function flash(element) {
  if (!element || still.matches || document.hidden) return;
  element.classList.add("flash");
  flashing.add(element);
  dim();
}

function attributes(old, made) {
  for (const { name, value } of made.attributes) {
    if (name === "class") classes(old, value);
    else if (!READERS.has(name) && old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const name of old.getAttributeNames()) {
    if (made.hasAttribute(name) || READERS.has(name)) continue;
    if (name === "class") classes(old, "");
    else old.removeAttribute(name);
  }
}

function classes(old, value) {
  const whole = [value, ...OURS.filter((one) => old.classList.contains(one))].filter(Boolean).join(" ");
  if ((old.getAttribute("class") || "") !== whole) old.setAttribute("class", whole);
}

function children(old, made) {
  if (onlyText(old) && onlyText(made)) return write(old.firstChild, made.firstChild.data);
  const keyed = new Map([...old.children].filter(keyOf).map((child) => [keyOf(child), child]));
  const kept = new Set([...made.children].map(keyOf).filter(Boolean));
  let at = old.firstChild;
  for (const next of [...made.childNodes]) {
    // what the new one has not: gone, unless it is wanted further on
    while (at && at.nodeType === Node.ELEMENT_NODE && next.nodeType === Node.ELEMENT_NODE
      && !alike(at, next) && !kept.has(keyOf(at)) && [...siblings(at)].some((one) => alike(one, next))) {
      at = gone(at);
    }
    const match = keyed.get(keyOf(next)) || (at && alike(at, next) ? at : null);
    if (!match || match.nodeName !== next.nodeName) old.insertBefore(next, at);
    else {
      if (match === at) at = at.nextSibling;
      else old.insertBefore(match, at);
      if (!match.isEqualNode(next)) alter(match, next); // most cells of a row stand as they did
    }
  }
  while (at) at = gone(at);
}

const onlyText = ({ firstChild }) => firstChild && !firstChild.nextSibling && firstChild.nodeType === Node.TEXT_NODE;

function gone(node) {
  const next = node.nextSibling;
  if (node.dataset?.keep === undefined) node.remove();
  return next;
}

function* siblings(node) {
  for (let at = node.nextSibling; at; at = at.nextSibling) yield at;
}
