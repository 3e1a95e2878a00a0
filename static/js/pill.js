// The connection pill of the top bar, and "data as of" beside it.

import { serverNow } from "./ages.js";
import { getText } from "./fetching.js";
import { connectNow, live, stateNow } from "./live.js";
import { morph, parsed } from "./morph.js";
import { seldom } from "./waiting.js";

const pill = document.getElementById("connection");
const said = document.getElementById("connection-said");
const asOf = () => document.getElementById("asof");
//: How each state is called, what it means, and what the pill's click does.
const STATES = {
  connecting: ["connecting", "Asking for what changed"],
  live: ["live", "Connected: this page shows what is read as it comes"],
  stale: ["no new data", "Connected, but the logs were not read for a while: does the follower run (manage.py sync_runs --watch)?"],
  waiting: ["offline", "Not connected: what you see is as it was. Click to try now"],
  paused: ["paused", "Nobody looked at this page for a while. Click to go on"],
  "signed out": ["signed out", "Click to sign in again; what you see is as it was"],
  "not allowed": ["closed", "You may not follow this any more. Click to load the page anew"],
};
const DO = {
  "signed out": () => location.assign(`${pill.dataset.login}?next=${encodeURIComponent(location.pathname + location.search)}`),
  "not allowed": () => location.reload(),
};

function show() {
  const { name: is, until } = stateNow();
  if (!is) return;
  const name = is === "live" && asOf()?.classList.contains("stale") ? "stale" : is;
  const [word, means] = STATES[name];
  const left = Math.max(0, Math.ceil((until - Date.now()) / 1000));
  pill.hidden = false;
  if (pill.dataset.state !== name) {
    pill.dataset.state = name;
    pill.title = means;
    said.textContent = name === "live" ? "Connected" : `${word}. ${means}`;
  }
  const text = name === "waiting" ? `${word}, again in ${left} s` : word;
  const place = pill.querySelector("span");
  if (place.textContent !== text) place.textContent = text;
}

pill.addEventListener("click", () => (DO[stateNow().name] || connectNow)());
live.addEventListener("state", show);
setInterval(() => {
  show();
  const until = Number(asOf()?.dataset.stale);
  if (until && serverNow() > until * 1000 && stateNow().name === "live" && !document.hidden) look();
}, 1000);

const look = seldom(async () => {
  const made = await getText(pill.dataset.asof).then(parsed, () => null);
  if (made?.id === "asof" && asOf()) morph(asOf(), made);
  show();
}, 5000);
setInterval(() => stateNow().name === "live" && !document.hidden && look(), 20_000);
live.addEventListener("again", look);
show();
