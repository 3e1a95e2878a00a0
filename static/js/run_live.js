// A run's page while the run goes on: figures of its cards, counts of its tabs, "2 new" samples.

import { tellAll, write } from "./figures.js";
import { hold, live } from "./live.js";
import { count } from "./numbers.js";

const tabs = document.getElementById("tabs");
const run = Number(tabs.dataset.run);
const charts = document.getElementById("charts");
//: Numbers of more than so many cards are asked for only of those that are near.
const FEW = 60;
let first = null; // what the run held when the page was asked for

function receive({ data: { series, totals } }) {
  tellAll(charts?.querySelectorAll(".chart-card") || [], series);
  first ||= totals;
  for (const place of tabs.querySelectorAll("[data-count]")) {
    const many = totals[place.dataset.count];
    write(place, count(many));
    place.hidden = !many && place.dataset.count !== "files";
  }
  const fresh = totals.samples + totals.texts - first.samples - first.texts;
  for (const place of [tabs.querySelector("[data-new]"), document.querySelector("#fresh a")]) {
    if (!place) continue;
    write(place, place.dataset.new ? `${count(fresh)} new` : `${count(fresh)} new: show`);
    (place.dataset.new ? place : place.parentElement).hidden = fresh <= 0;
  }
  const cards = charts?.querySelectorAll(".chart-card").length;
  // a run that had measured nothing: nothing is lost by asking anew
  if (cards === 0 && totals.series && charts.dataset.empty !== undefined) location.reload();
  else if (cards !== undefined && totals.series > first.series) {
    first.series = totals.series;
    live.dispatchEvent(new Event("tags"));
  }
}

// The spec of a page with many cards names the tags of those that are near (run_charts.js tells).
const thing = { kind: "run-figures", id: run, version: -1, spec: "", receive };
const many = (charts?.querySelectorAll(".chart-card").length || 0) > FEW;
let release = charts && many ? () => {} : hold({ ...thing, spec: charts ? "" : "totals" });
if (charts && many) live.addEventListener("near", ({ detail }) => {
  release();
  release = hold({ ...thing, spec: new URLSearchParams(detail.map((tag) => ["tag", tag])).toString() });
});
