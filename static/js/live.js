// The page's one socket: what stands on the page under data-live is kept as the server has it.
//
// In templates:
//   <div id="run-head-7" data-live="run-head" data-version="12">…          one thing, swapped in place
//   <tbody data-live="run-row" data-spec="column=name"><tr id="run-7" data-version="12">…   each row a thing
// The number at the end of the id is the run's or job's.  What is in it under data-keep stays the page's own
// (buttons, bookmarks): a fragment from the server holds nothing of one user.
//
// In scripts:
//   hold({kind, id, version, spec, receive(fragment)})   a thing that a script shows (figures as JSON); answers how to let go
//   follow({lists, series: () => [...], tail: () => [...]})  what else to ask for; asked again whenever changed() is called
//   live.addEventListener(name, (event) => event.detail)
//     "fragment" {kind, id, version, element, turned: its status is another}, "gone" {kind, id}, "sources", "points" (of a binary frame), "refetch" {run, tag},
//     "tail" {job, from, lines}, "again" (connected after a break), "state" {name, until}
// After a break all of it is asked for again with the versions that the page has: exactly what was missed comes.

import { skew } from "./ages.js";
import { morph, parsed } from "./morph.js";
import { decode } from "./series.js";
import { later } from "./waiting.js";

export const live = new EventTarget();
const tell = (name, detail) => live.dispatchEvent(new CustomEvent(name, { detail }));

const [FIRST_WAIT, LONGEST_WAIT] = [1000, 30_000];
//: A page that nobody looks at for so long closes its socket; one that hears nothing for so long has lost it.
const [HIDDEN, SILENT] = [5 * 60_000, 50_000];
const MOST = 1000;
//: Frames of which one is answered, and milliseconds after which the last one is.
const [FEW, SOON] = [4, 250];
//: Codes by which the server closes for good, and what is then told.
const ENDED = { 4401: "signed out", 4403: "not allowed" };

const held = new Set();
const asked = [];
let [socket, wait, timer, watchdog, sent] = [null, FIRST_WAIT, 0, 0, ""];
let [ended, broken] = ["", false];

// ---- what is asked for

export function hold(thing) {
  held.add(thing);
  changed();
  return () => {
    held.delete(thing);
    changed();
  };
}

export function follow(more) {
  asked.push(more);
  changed();
}

// What the page shows is other than before: tells the server, once for all changes of a moment.
export const changed = later(() => {
  if (!socket && !ended && !timer && !document.hidden) connect();
  else ask();
}, 50);

function things() {
  const found = [];
  for (const part of document.querySelectorAll("[data-live]")) {
    const { live: kind, spec = "" } = part.dataset;
    for (const element of part.dataset.version === undefined ? part.querySelectorAll(":scope > [data-version]") : [part]) {
      found.push({ kind, id: numbered(element), version: Number(element.dataset.version), spec, element });
    }
  }
  return found;
}

const numbered = (element) => Number(element.id.match(/\d+$/)?.[0]);

function wanted() {
  const watch = [...held, ...things()].slice(0, MOST).map(({ kind, id, version, spec }) => ({ kind, id, version, spec }));
  const lists = asked.some((one) => one.lists);
  const series = asked.flatMap((one) => one.series?.() || []).slice(0, MOST);
  const tail = asked.flatMap((one) => one.tail?.() || []).slice(0, MOST);
  return watch.length || lists || series.length || tail.length ? { watch, lists, series, tail } : null;
}

function ask(anew = false) {
  if (socket?.readyState !== WebSocket.OPEN) return;
  const said = JSON.stringify(wanted() || { watch: [], lists: false, series: [], tail: [] });
  // versions rise with every frame: only what is watched counts as another question
  const same = said.replace(/"version":\d+,/g, "");
  if (!anew && same === sent) return;
  sent = same;
  socket.send(said);
}

// ---- the socket

function connect() {
  clearTimeout(timer);
  timer = 0;
  if (socket || ended || !wanted()) return;
  state("connecting");
  const mine = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/live/`);
  mine.binaryType = "arraybuffer";
  socket = mine;
  heard();
  mine.onopen = () => {
    sent = "";
    ask(true);
    state("live");
    if (broken) tell("again");
    broken = true;
  };
  mine.onmessage = ({ data }) => {
    heard();
    wait = FIRST_WAIT;
    if (socket === mine) receive(data);
  };
  mine.onclose = ({ code }) => socket === mine && closed(code);
}

// Nothing for so long, not even a keepalive: the way is broken, though nobody said so.
function heard() {
  clearTimeout(watchdog);
  watchdog = setTimeout(() => drop(), SILENT);
}

function drop(code = 0) {
  const mine = socket;
  if (!mine) return;
  mine.close();
  closed(code);
}

function closed(code) {
  socket = null;
  clearTimeout(watchdog);
  if (ENDED[code]) {
    ended = ENDED[code];
    state(ended);
    return;
  }
  if (document.hidden && code === 0) state("paused");
  else again();
}

// Twice as long after each failure, with a quarter more or less: a thousand pages do not come back at once.
function again() {
  const until = Date.now() + Math.min(LONGEST_WAIT, wait * (0.75 + Math.random() / 2));
  wait = Math.min(LONGEST_WAIT, wait * 2);
  clearTimeout(timer);
  timer = setTimeout(connect, until - Date.now());
  state("waiting", until);
}

export function connectNow() {
  if (!socket) connect();
}

let [now, pausing] = [{ name: "", until: 0 }, 0];
function state(name, until = 0) {
  now = { name, until };
  tell("state", now);
}
export const stateNow = () => now;

document.addEventListener("visibilitychange", () => {
  clearTimeout(pausing);
  if (!document.hidden) connectNow();
  else pausing = setTimeout(() => {
    clearTimeout(timer);
    timer = 0;
    if (socket) drop();
    else if (!ended) state("paused");
  }, HIDDEN);
});
addEventListener("online", connectNow);
addEventListener("offline", () => drop(1));
addEventListener("pagehide", () => {
  clearTimeout(timer);
  const mine = socket;
  socket = null;
  mine?.close();
});
addEventListener("pageshow", (event) => event.persisted && connectNow());

// ---- what comes

function receive(data) {
  const frame = typeof data === "string" ? JSON.parse(data) : decode(data);
  if (data instanceof ArrayBuffer) tell("points", frame);
  else {
    if (frame.now || frame.keepalive) skew(frame.now || frame.keepalive);
    if (frame.fragments) swapAll(frame.fragments);
    for (const one of frame.gone || []) leave(one);
    for (const one of frame.series || []) tell("refetch", one);
    for (const one of frame.tail || []) tell("tail", one);
    if (frame.sources) tell("sources");
    if (frame.refused) console.warn(`/ws/live/: ${frame.refused}`);
  }
  if (frame.seq !== undefined) acknowledge(socket, frame.seq);
}

// Of a quick succession every fourth frame is answered, and the last one soon: hearing of it is a third of a frame's work.
// A hidden page has slow clocks, and answers each.
function acknowledge(mine, seq) {
  const said = () => {
    clearTimeout(mine.soon);
    [mine.answered, mine.soon] = [mine.newest, 0];
    if (mine.readyState === WebSocket.OPEN) mine.send(JSON.stringify({ ack: mine.newest }));
  };
  mine.newest = seq;
  if (document.hidden || seq - (mine.answered || 0) >= FEW) said();
  else mine.soon ||= setTimeout(said, SOON);
}

// What the page shows is looked up once a frame: a list of a hundred rows gets as many fragments in one.
function swapAll(fragments) {
  const shown = new Map();
  for (const one of things()) shown.set(keyOf(one), [...(shown.get(keyOf(one)) || []), one]);
  for (const fragment of fragments) swap(fragment, shown.get(keyOf(fragment)) || []);
}

const keyOf = ({ kind, id, spec = "" }) => `${kind} ${id} ${spec}`;

function swap(fragment, shown) {
  const { kind, id, version, spec = "" } = fragment;
  const fits = (one) => one.kind === kind && one.id === id && one.spec === spec && one.version <= version;
  for (const one of held) {
    if (!fits(one)) continue;
    one.version = version;
    one.receive(fragment);
  }
  const places = shown.filter(fits);
  const made = places.length ? parsed(fragment.html) : null;
  if (!made) return;
  for (const { element } of places) {
    const before = standing(element);
    morph(element, element === places.at(-1).element ? made : made.cloneNode(true)); // it takes what it needs of it
    tell("fragment", { kind, id, version, element, turned: standing(element) !== before });
  }
}

const standing = (element) => element.querySelector(".status")?.textContent;

// It is in the trash, or not to be seen any more: what was shown stays, greyed, until the page is asked for anew.
function leave({ kind, id }) {
  for (const { element } of things().filter((one) => one.kind === kind && one.id === id)) element.classList.add("left");
  tell("gone", { kind, id });
}

if (wanted()) changed();
