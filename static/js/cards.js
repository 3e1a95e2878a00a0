// Cards of one run's metrics (templates/_chart.html): each is a chart while it is near the view, and grows while the run does.
//
//   const cards = new Cards(page, {run, asked: () => options of charts.js, closed: (card) => ..., opened: (batch) => ...});
//   cards.watch(elements)      // those .chart-card are drawn when they come near the view
//   cards.drawn                // card -> {chart, series, ...} of those that are
//   cards.setOptions(options, anew)  // of all; anew: their points lie on another axis
// page: what holds them; data-export: where a metric's points are as CSV.  template#chart-buttons: what each card's header gets.

import { Chart } from "./charts.js";
import { looks } from "./colours.js";
import { grown } from "./growing.js";
import { whileNear } from "./lazy.js";
import { changed, follow, live } from "./live.js";
import { number } from "./numbers.js";
import { MAX_TAGS, linesOf, loadSeries, placed, rulesOf } from "./series.js";
import { seldom } from "./waiting.js";

//: Milliseconds between two drawings of a chart that grows, and between two times that all its points are asked for.
const REDRAWN = 200;
export const RENEWED = 3000;

export class Cards {
  drawn = new Map(); // card -> {chart, series, loading, redraw, renew}

  constructor(page, { run, asked = () => ({}), opened = () => {}, closed = () => {} }) {
    Object.assign(this, { page, run, asked, opened, closed, look: looks([run]).get(run) });
    follow({ series: () => this.#places() });
    live.addEventListener("points", ({ detail }) => detail.series.forEach((more) => this.#grow(more)));
    live.addEventListener("refetch", ({ detail }) => detail.run === run && this.#of(detail.tag)?.renew());
    page.addEventListener("click", (event) => {
      const button = event.target.closest("[data-do]");
      const card = button?.closest(".chart-card");
      if (card && button.dataset.do === "expand") this.#expand(card, button);
      if (card && button.dataset.do === "picture") this.#picture(card);
    });
  }

  watch(elements) {
    whileNear(elements, (batch) => {
      batch.forEach((card) => this.#open(card));
      this.opened(batch);
      this.load(batch);
    }, (card) => this.#close(card));
  }

  setOptions(options, anew = false) {
    for (const { chart, series } of this.drawn.values()) {
      chart.setOptions(options);
      if (!anew || !series) continue;
      chart.setRules(rulesOf(series, options.axis));
      chart.setLines(linesOf(series, { axis: options.axis, look: this.look }));
    }
    if (anew) this.load([...this.drawn.keys()]);
  }

  // ---- one card

  #open(card) {
    const area = card.querySelector(".area");
    if (!card.querySelector(".chart-buttons")) card.querySelector("header").append(this.#buttons(card));
    area.classList.add("loading");
    const chart = new Chart(area, {
      ...this.asked(), title: card.dataset.tag,
      onZoom: (range) => this.load([card], range),
      onReading: (reading) => read(card, reading),
    });
    this.drawn.set(card, {
      chart, series: null, loading: null,
      redraw: seldom(() => this.#redraw(card), REDRAWN), renew: seldom(() => this.#renew(card), RENEWED),
    });
  }

  #close(card) {
    const { chart, loading } = this.drawn.get(card);
    loading?.abort();
    chart.destroy();
    card.querySelector(".area").classList.remove("loading");
    card.classList.remove("stale");
    this.drawn.delete(card);
    this.closed(card);
  }

  #fill(card, series) {
    const one = this.drawn.get(card);
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
    const { axis = "step" } = one.chart.options;
    one.chart.setRules(rulesOf(series, axis));
    one.chart.setLines(linesOf(series, { axis, look: this.look }));
    describe(card, series, this.look);
  }

  #buttons(card) {
    const made = document.getElementById("chart-buttons").content.cloneNode(true);
    const link = made.querySelector("[data-do=export]");
    if (this.page.dataset.export) {
      link.href = `${this.page.dataset.export}?${new URLSearchParams({ as: "csv", tag: card.dataset.tag })}`;
      link.hidden = false;
    }
    return made;
  }

  #expand(card, button) {
    const on = card.classList.toggle("expanded");
    button.setAttribute("aria-pressed", String(on));
    card.scrollIntoView({ block: "nearest" });
    const one = this.drawn.get(card);
    if (one?.series) this.load([card], one.chart.options.range);
  }

  #picture(card) {
    const chart = this.drawn.get(card)?.chart;
    if (!chart?.plot) return;
    chart.picture().toBlob((blob) => {
      const link = Object.assign(document.createElement("a"), {
        href: URL.createObjectURL(blob), download: `${card.dataset.tag.replace(/[^\w.-]+/g, "_").slice(0, 100)}.png`,
      });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    });
  }

  // ---- points

  // One request for all that came near together; what fails says so in each card and keeps what it shows.
  async load(batch, range = null) {
    for (let from = 0; from < batch.length; from += MAX_TAGS) await this.#loadSome(batch.slice(from, from + MAX_TAGS), range);
  }

  async #loadSome(batch, range) {
    const loading = new AbortController();
    const waiting = new Set(batch);
    for (const card of batch) {
      const one = this.drawn.get(card);
      one?.loading?.abort();
      // a request ends when nobody waits for it any more
      if (one) one.loading = { abort: () => { if (waiting.delete(card) && !waiting.size) loading.abort(); } };
    }
    const { axis = "step" } = this.asked();
    const wide = Math.max(...batch.map((card) => card.clientWidth));
    const points = Math.min(4000, Math.max(600, Math.ceil(wide / 250) * 500));
    try {
      const tags = batch.map((card) => card.dataset.tag);
      const { series } = await loadSeries({ runs: [this.run], tags, points, axis, from: range?.[0] ?? null, to: range?.[1] ?? null, signal: loading.signal });
      const found = new Map(series.map((one) => [one.tag, one]));
      for (const card of waiting) this.#fill(card, found.get(card.dataset.tag));
      changed();
    } catch (error) {
      if (error.name !== "AbortError") for (const card of waiting) this.#failed(card, error);
    }
  }

  #failed(card, error) {
    if (!this.drawn.has(card)) return;
    card.querySelector(".area").classList.remove("loading");
    card.classList.add("stale");
    tell(card, error.status ? error.message : "The points could not be loaded.", () => this.#again());
  }

  // One that is tried again takes all with it that failed.
  #again() {
    const stale = [...this.drawn.keys()].filter((card) => card.classList.contains("stale"));
    const zoomed = stale.filter((card) => this.drawn.get(card).chart.options.range);
    this.load(stale.filter((card) => !zoomed.includes(card)));
    for (const card of zoomed) this.load([card], this.drawn.get(card).chart.options.range);
  }

  // ---- a run that goes on: points that came since are appended, what does not join is asked for anew

  #places() {
    return [...this.drawn].filter(([, { series }]) => series?.place)
      .map(([card, { series }]) => ({ run: this.run, tag: card.dataset.tag, since: series.place }));
  }

  #of(tag) {
    return [...this.drawn].find(([card, { series }]) => series && card.dataset.tag === tag)?.[1];
  }

  #grow(more) {
    const one = more.run === this.run && this.#of(more.tag);
    if (!one) return;
    const { range, axis } = one.chart.options;
    if (range && placed(more.line.step, more.line.wall, axis, one.series.origin)[0] > range[1]) {
      one.series = { ...one.series, place: more.place }; // it is seen when one zooms out: that asks for all
      return;
    }
    const made = range ? null : grown(one.series, more);
    if (made) {
      one.series = made;
      one.redraw();
    } else one.renew();
  }

  #redraw(card) {
    const one = this.drawn.get(card);
    if (!one?.series || one.chart.options.range) return;
    card.querySelector(".chart-state")?.remove();
    one.chart.setLines(linesOf(one.series, { axis: one.chart.options.axis, look: this.look }));
  }

  // Who has zoomed in keeps the view: its points are asked for again, only where it reaches what is new.
  async #renew(card) {
    const one = this.drawn.get(card);
    if (one) await this.load([card], one.chart.options.range);
  }
}

// What only the points tell: restarts, whether they are coarse, who wrote them.
function describe(card, series, look) {
  const stats = card.querySelector(".stats");
  stats.querySelectorAll(".told").forEach((told) => told.remove());
  const say = (text, title = "") => {
    stats.append(Object.assign(document.createElement("span"), { className: "told", textContent: text, title }));
  };
  if (series.restarts.length) say(`${series.restarts.length} restart${series.restarts.length > 1 ? "s" : ""}`);
  if (series.coarse) say("coarse", "Too many points for one look: drawn from the minimum and maximum of each 4,096. Zoom in for all.");
  if (series.writers.length > 1) series.writers.slice(0, 20).forEach((name, at) => stats.append(writer(name, look.colour + at)));
}

function writer(name, colour) {
  const [row, swatch] = [document.createElement("span"), document.createElement("u")];
  row.className = "told writer";
  swatch.style.borderTopColor = `var(--w${colour % 10})`;
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
