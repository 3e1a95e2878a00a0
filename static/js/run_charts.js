// The Charts tab of a run: cards that are drawn when they come near the view, and the tools above them.

import { Cards, RENEWED } from "./cards.js";
import { getText } from "./fetching.js";
import { live } from "./live.js";
import { seldom } from "./waiting.js";

const page = document.getElementById("charts");
const tools = document.getElementById("chart-tools");
const pinned = document.getElementById("pinned");
const run = Number(page.dataset.run);
const cards = [...page.querySelectorAll(".chart-card")];
const homes = new Map(cards.map((card, place) => [card, { parent: card.parentElement, place }]));
const charts = new Cards(page, { run, asked, opened: pinnedSaid, closed: near });

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

// ---- which cards there are

// Of a page with many cards figures are asked for only of those that are near.
function near() {
  live.dispatchEvent(new CustomEvent("near", { detail: [...charts.drawn.keys()].map((card) => card.dataset.tag).slice(0, 100) }));
}

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
  charts.watch(fresh);
}, RENEWED));

// ---- cards that are pinned

page.addEventListener("click", (event) => {
  const card = event.target.closest("[data-do=pin]")?.closest(".chart-card");
  if (card) pin(card);
});

function pinnedSaid(batch) {
  for (const card of batch) card.querySelector("[data-do=pin]").setAttribute("aria-pressed", String(card.parentElement.parentElement === pinned));
  near();
}

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
  charts.setOptions(asked(), event.target.name === "axis");
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
charts.watch(cards);
