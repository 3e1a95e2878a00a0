// The charts of a job's overview: its loss, learning rate and speed, which grow while it trains.

import { Cards, RENEWED } from "./cards.js";
import { getText } from "./fetching.js";
import { tellAll } from "./figures.js";
import { hold, live } from "./live.js";
import { seldom } from "./waiting.js";

const place = document.querySelector("[data-keep=charts]");
const section = () => place.querySelector("#job-charts");
const known = () => document.querySelector(".metric-cards").dataset.known;
let told = known();
let [charts, release] = [null, () => {}];
const cards = () => [...(section()?.querySelectorAll(".chart-card") || [])];

function begin(fresh) {
  const run = Number(section().dataset.run);
  charts ||= new Cards(section(), { run });
  charts.watch(fresh);
  release();
  const spec = new URLSearchParams(cards().map((card) => ["tag", card.dataset.tag])).toString();
  release = hold({ kind: "run-figures", id: run, version: -1, spec, receive: ({ data }) => tellAll(cards(), data.series) });
}

// A job that had said no loss yet, or no learning rate, when the page was asked for: it has a chart now.
const look = seldom(async () => {
  const text = await getText(location.href).catch(() => null);
  const made = text && new DOMParser().parseFromString(text, "text/html").getElementById("job-charts");
  if (!made) return;
  const had = new Set(cards().map((card) => card.dataset.tag));
  const fresh = [...made.querySelectorAll(".chart-card")].filter((card) => !had.has(card.dataset.tag));
  if (!section()) place.append(document.adoptNode(made));
  else section().querySelector(".cards").append(...fresh);
  if (fresh.length) begin(fresh);
}, RENEWED);

if (section()) begin(cards());
live.addEventListener("fragment", ({ detail }) => {
  if (detail.kind !== "job-live" || known() === told) return;
  told = known();
  look();
});
