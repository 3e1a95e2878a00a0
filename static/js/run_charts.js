// The Charts tab of a run: cards that are drawn when they come near the view, and the tools above them.

import { Chart } from "./charts.js";
import { looks } from "./colours.js";
import { getText } from "./fetching.js";
import { grown } from "./growing.js";
import { whileNear } from "./lazy.js";
import { changed, follow, live } from "./live.js";
import { number } from "./numbers.js";
import { MAX_TAGS, linesOf, loadSeries, placed, rulesOf } from "./series.js";
import { seldom } from "./waiting.js";

const page = document.getElementById("charts");
const tools = document.getElementById("chart-tools");
const pinned = document.getElementById("pinned");
const run = Number(page.dataset.run);
const look = looks([run]).get(run);
const cards = [...page.querySelectorAll(".chart-card")];
const homes = new Map(cards.map((card, place) => [card, { parent: card.parentElement, place }]));
const drawn = new Map(); // card -> {chart, series, loading, redraw, renew}
//: Milliseconds between two drawings of a chart that grows, and between two times that all its points are asked for.
const [REDRAWN, RENEWED] = [200, 3000];

const remembered = (key, otherwise) => {
  try {
    return JSON.parse(localStorage.getItem(key)) ?? otherwise;
  } catch {
    return otherwise;
  }
};
const remember = (key, value) => {
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch { /* private mode */ }
};
const [SETTINGS, PINNED, FOLDED] = ["charts", `pinned:${page.dataset.trainer}`, `folded:${page.dataset.trainer}`];

// ---- one card

function open(card) {
  const area = card.querySelector(".area");
  if (!card.querySelector(".chart-buttons")) card.querySelector("header").append(buttons(card));
  area.classList.add("loading");
  const chart = new Chart(area, {
    ...asked(), title: card.dataset.tag,
    onZoom: (range) => zoom(card, range),
    onReading: (reading) => read(card, reading),
  });
  drawn.set(card, { chart, series: null, loading: null, redraw: seldom(() => redraw(card), REDRAWN), renew: seldom(() => renew(card), RENEWED) });
}

function close(card) {
  const { chart, loading } = drawn.get(card);
  loading?.abort();
  chart.destroy();
  card.querySelector(".area").classList.remove("loading");
  card.classList.remove("stale");
  drawn.delete(card);
  near();
}

function fill(card, series) {
  const one = drawn.get(card);
  if (!one) return;
  one.series = series || one.series;
  card.querySelector(".area").classList.remove("loading");
  card.classList.remove("stale");
  card.querySelector(".chart-state")?.remove();
  if (!series || !series.lines.some((line) => line.step.length)) {
    tell(card, one.chart.options.range ? "No point in this range." : "No points on this axis.");
    one.chart.setLines([]);
    return;
  }
  const axis = one.chart.options.axis;
  one.chart.setRules(rulesOf(series, axis));
  one.chart.setLines(linesOf(series, { axis, look }));
  describe(card, series);
}

// What only the points tell: restarts, whether they are coarse, who wrote them.
function describe(card, series) {
  const stats = card.querySelector(".stats");
  stats.querySelectorAll(".told").forEach((told) => told.remove());
  const say = (text, title = "") => {
    stats.append(Object.assign(document.createElement("span"), { className: "told", textContent: text, title }));
  };
  if (series.restarts.length) say(`${series.restarts.length} restart${series.restarts.length > 1 ? "s" : ""}`);
  if (series.coarse) say("coarse", "Too many points for one look: drawn from the minimum and maximum of each 4,096. Zoom in for all.");
  if (series.writers.length > 1) series.writers.slice(0, 20).forEach((name, at) => stats.append(writer(name, at)));
}

function writer(name, at) {
  const [row, swatch] = [document.createElement("span"), document.createElement("u")];
  row.className = "told writer";
  swatch.style.borderTopColor = `var(--w${(look.colour + at) % 10})`;
  row.append(swatch, name);
  return row;
}

function tell(card, text, again) {
  card.querySelector(".chart-state")?.remove();
  const state = Object.assign(document.createElement("p"), { className: "chart-state", textContent: text });
  if (again) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Try again" });
    button.addEventListener("click", again);
    state.append(" ", button);
  }
  card.querySelector(".area").append(state);
}

function read(card, reading) {
  const last = card.querySelector(".last");
  last.dataset.last ??= last.textContent;
  const only = reading?.values.length === 1 ? reading.values[0] : null;
  last.textContent = only ? number(only.smooth ?? only.value) : last.dataset.last;
  last.classList.toggle("reading", Boolean(only));
}

// ---- points

// One request for all that came near together; what fails says so in each card and keeps what it shows.
async function load(batch, range = null) {
  for (let from = 0; from < batch.length; from += MAX_TAGS) await loadSome(batch.slice(from, from + MAX_TAGS), range);
}

async function loadSome(batch, range) {
  const loading = new AbortController();
  const waiting = new Set(batch);
  for (const card of batch) {
    const one = drawn.get(card);
    one?.loading?.abort();
    // a request ends when nobody waits for it any more
    if (one) one.loading = { abort: () => { if (waiting.delete(card) && !waiting.size) loading.abort(); } };
  }
  const { axis } = asked();
  const wide = Math.max(...batch.map((card) => card.clientWidth));
  const points = Math.min(4000, Math.max(600, Math.ceil(wide / 250) * 500));
  try {
    const tags = batch.map((card) => card.dataset.tag);
    const { series } = await loadSeries({ runs: [run], tags, points, axis, from: range?.[0] ?? null, to: range?.[1] ?? null, signal: loading.signal });
    const found = new Map(series.map((one) => [one.tag, one]));
    for (const card of waiting) fill(card, found.get(card.dataset.tag));
    changed();
  } catch (error) {
    if (error.name !== "AbortError") for (const card of waiting) failed(card, error);
  }
}

function failed(card, error) {
  if (!drawn.has(card)) return;
  card.querySelector(".area").classList.remove("loading");
  card.classList.add("stale");
  tell(card, error.status ? error.message : "The points could not be loaded.", again);
}

// One that is tried again takes all with it that failed.
function again() {
  const stale = [...drawn.keys()].filter((card) => card.classList.contains("stale"));
  const zoomed = stale.filter((card) => drawn.get(card).chart.options.range);
  load(stale.filter((card) => !zoomed.includes(card)));
  for (const card of zoomed) load([card], drawn.get(card).chart.options.range);
}

function zoom(card, range) {
  load([card], range);
}

// ---- a run that goes on: points that came since are appended, what does not join is asked for anew

follow({
  series: () => [...drawn].filter(([, { series }]) => series?.place).map(([card, { series }]) => ({ run, tag: card.dataset.tag, since: series.place })),
});

function drawnOf(tag) {
  return [...drawn].find(([card, { series }]) => series && card.dataset.tag === tag)?.[1];
}

live.addEventListener("points", ({ detail }) => {
  for (const more of detail.series) {
    const one = more.run === run && drawnOf(more.tag);
    if (!one) continue;
    const { range, axis } = one.chart.options;
    if (range && placed(more.line.step, more.line.wall, axis, one.series.origin)[0] > range[1]) {
      one.series = { ...one.series, place: more.place }; // it is seen when one zooms out: that asks for all
      continue;
    }
    const made = range ? null : grown(one.series, more);
    if (made) {
      one.series = made;
      one.redraw();
    } else one.renew();
  }
});
live.addEventListener("refetch", ({ detail }) => detail.run === run && drawnOf(detail.tag)?.renew());

function redraw(card) {
  const one = drawn.get(card);
  if (!one?.series || one.chart.options.range) return;
  card.querySelector(".chart-state")?.remove();
  one.chart.setLines(linesOf(one.series, { axis: one.chart.options.axis, look }));
}

// Who has zoomed in keeps the view: its points are asked for again, only where it reaches what is new.
async function renew(card) {
  const one = drawn.get(card);
  if (one) await load([card], one.chart.options.range);
}

// Of a page with many cards figures are asked for only of those that are near.
const near = () => live.dispatchEvent(new CustomEvent("near", { detail: [...drawn.keys()].map((card) => card.dataset.tag).slice(0, 100) }));

// New tags: their cards come where the page asked for anew has them; the others stay as they are.
live.addEventListener("tags", seldom(async () => {
  const text = await getText(location.href).catch(() => null);
  const made = text && new DOMParser().parseFromString(text, "text/html");
  const known = new Set(cards.map((card) => card.dataset.tag));
  const fresh = [];
  for (const group of made ? made.querySelectorAll("#charts [data-group]") : []) {
    const mine = [...page.querySelectorAll("[data-group]")].find((one) => one.dataset.group === group.dataset.group);
    const added = [...group.querySelectorAll(".chart-card")].filter((card) => !known.has(card.dataset.tag));
    if (mine) mine.querySelector(".cards").append(...added);
    else if (added.length) page.querySelector("#no-tags").before(group);
    added.forEach((card) => homes.set(card, { parent: card.parentElement, place: homes.size }));
    fresh.push(...added);
  }
  cards.push(...fresh);
  filter();
  watchCards(fresh);
}, RENEWED));

// ---- buttons of a card

function buttons(card) {
  const made = document.getElementById("chart-buttons").content.cloneNode(true);
  const link = made.querySelector("[data-do=export]");
  if (page.dataset.export) {
    link.href = `${page.dataset.export}?${new URLSearchParams({ as: "csv", tag: card.dataset.tag })}`;
    link.hidden = false;
  }
  made.querySelector("[data-do=pin]").setAttribute("aria-pressed", String(card.parentElement.parentElement === pinned));
  return made;
}

page.addEventListener("click", (event) => {
  const button = event.target.closest("[data-do]");
  const card = button?.closest(".chart-card");
  if (card) ({ pin, expand, picture })[button.dataset.do]?.(card, button);
});

function pin(card) {
  const on = card.parentElement.parentElement !== pinned;
  const tags = new Set(remembered(PINNED, []));
  if (on) tags.add(card.dataset.tag);
  else tags.delete(card.dataset.tag);
  remember(PINNED, [...tags].slice(-100));
  place(card, on);
  card.querySelector("[data-do=pin]")?.focus();
}

// To the top, or back to where it came from.
function place(card, on) {
  const { parent, place: mine } = homes.get(card);
  const later = [...parent.children].find((other) => homes.get(other).place > mine);
  if (on) pinned.querySelector(".cards").append(card);
  else parent.insertBefore(card, later || null);
  card.querySelector("[data-do=pin]")?.setAttribute("aria-pressed", String(on));
  filter();
}

function expand(card, button) {
  const on = card.classList.toggle("expanded");
  button.setAttribute("aria-pressed", String(on));
  card.scrollIntoView({ block: "nearest" });
  const one = drawn.get(card);
  if (one?.series) load([card], one.chart.options.range);
}

function picture(card) {
  const chart = drawn.get(card)?.chart;
  if (!chart?.plot) return;
  chart.picture().toBlob((blob) => {
    const link = Object.assign(document.createElement("a"), {
      href: URL.createObjectURL(blob), download: `${card.dataset.tag.replace(/[^\w.-]+/g, "_").slice(0, 100)}.png`,
    });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  });
}

// ---- tools

function asked() {
  const { axis, smoothing, log, segments, trimmed } = tools.elements;
  return { axis: axis.value, smoothing: Number(smoothing.value), log: log.checked, segments: segments.checked, outliers: !trimmed.checked };
}

function restore() {
  const kept = remembered(SETTINGS, {});
  for (const field of tools.elements) {
    if (!(field.name in kept) || field.name === "tag") continue;
    if (field.type === "checkbox") field.checked = kept[field.name];
    else field.value = kept[field.name];
    if (field.tagName === "SELECT" && field.selectedIndex < 0) field.selectedIndex = 0;
  }
  dress();
}

function dress() {
  tools.querySelector("output").textContent = tools.elements.smoothing.value;
  page.dataset.columns = tools.elements.columns.value;
}

tools.addEventListener("submit", (event) => event.preventDefault());
tools.addEventListener("input", (event) => {
  if (event.target.name === "tag") return filter();
  dress();
  remember(SETTINGS, { ...asked(), trimmed: tools.elements.trimmed.checked, columns: tools.elements.columns.value });
  const options = asked();
  for (const { chart, series } of drawn.values()) {
    chart.setOptions(options);
    if (event.target.name === "axis" && series) {
      chart.setRules(rulesOf(series, options.axis));
      chart.setLines(linesOf(series, { axis: options.axis, look }));
    }
  }
  if (event.target.name === "axis") load([...drawn.keys()]);
  return undefined;
});

function filter() {
  const words = tools.elements.tag.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const card of cards) {
    const tag = card.dataset.tag.toLowerCase();
    card.hidden = !words.every((word) => tag.includes(word));
  }
  for (const group of page.querySelectorAll(".group")) group.hidden = !group.querySelector(".chart-card:not([hidden])");
  document.getElementById("no-tags").hidden = cards.some((card) => !card.hidden);
}

const folded = new Set(remembered(FOLDED, []));
for (const group of page.querySelectorAll("[data-group]")) {
  group.open = !folded.has(group.dataset.group);
  group.addEventListener("toggle", () => {
    folded[group.open ? "delete" : "add"](group.dataset.group);
    remember(FOLDED, [...folded].slice(-200));
  });
}

restore();
const wanted = remembered(PINNED, []);
cards.filter((card) => wanted.includes(card.dataset.tag)).forEach((card) => place(card, true));
filter();
watchCards(cards);

function watchCards(some) {
  whileNear(some, (batch) => {
    batch.forEach(open);
    near();
    load(batch);
  }, close);
}
