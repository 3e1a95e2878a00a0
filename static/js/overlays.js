// The charts of the workspace: a card a tag, with a line a shown run, or a mean and band a group.
//
// A card that is in sight asks for its points; when runs come or go, only what is new is asked for.

import { Chart } from "./charts.js";
import { looks } from "./colours.js";
import { getJSON } from "./fetching.js";
import { whileNear } from "./lazy.js";
import { MAX_TAGS, linesOf, loadSeries } from "./series.js";

// Points that one request may decode on the server, and how many a line gets.
const AT_ONCE = 1_500_000;
const few = (runs) => (runs > 8 ? 500 : 1000);
// What the toolbar keeps in the address beside what the server is asked for.
const WAYS = ["smoothing", "log", "outliers", "columns"];

export class Overlays {
  constructor() {
    this.cards = new Map(); // element -> Card
    this.stop = () => {};
    this.ways = Object.fromEntries(WAYS.map((name) => [name, new URLSearchParams(location.search).get(name)]));
  }

  // Take up the cards of a panel that was just rendered; without one, give up those of the last.
  enliven(panel) {
    this.stop();
    for (const [element, card] of this.cards) if (!element.isConnected) this.drop(element, card);
    this.panel = panel;
    if (!panel) return;
    this.runs = shownRuns();
    this.toolbar();
    const figures = panel.querySelectorAll("figure.overlay");
    for (const figure of figures) if (!this.cards.has(figure)) this.cards.set(figure, new Card(figure, panel, this));
    this.stop = whileNear(figures, (near) => this.show(near), (far) => this.cards.get(far)?.sleep());
  }

  // Cards whose question is the same stay, with what they hold, when a new panel takes their place.
  keep(old, fresh) {
    const [before, after] = [old.querySelector("#charts"), fresh.querySelector("#charts")];
    if (!before || !after || questionOf(before) !== questionOf(after)) return;
    const kept = new Map([...before.querySelectorAll("figure.overlay")].map((figure) => [figure.dataset.tag, figure]));
    for (const figure of after.querySelectorAll("figure.overlay")) {
      const one = kept.get(figure.dataset.tag);
      if (!one) continue;
      Object.assign(one.dataset, figure.dataset);
      one.querySelector("figcaption").replaceWith(figure.querySelector("figcaption"));
      figure.replaceWith(one);
    }
    const folded = new Map([...before.querySelectorAll(".chart-group")].map((group) => [group.dataset.groupName, group.open]));
    for (const group of after.querySelectorAll(".chart-group")) group.open = folded.get(group.dataset.groupName) ?? true;
  }

  // An eye was shut: its lines go at once, the server's answer follows.
  toggled(run) {
    for (const card of this.cards.values()) card.without(run);
  }

  // The address with what the toolbar says.
  carried(url) {
    for (const name of WAYS) {
      if (this.ways[name]) url.searchParams.set(name, this.ways[name]);
      else url.searchParams.delete(name);
    }
    url.search = url.search.replaceAll("%2C", ","); // ids between commas stay readable
    return url;
  }

  // What a Chart is told of the ways to look.
  options() {
    return { smoothing: Number(this.ways.smoothing) || 0, log: this.ways.log === "1", outliers: this.ways.outliers !== "0" };
  }

  toolbar() {
    const form = this.panel.querySelector(".toolbar");
    if (!form) return;
    const smoothing = form.querySelector("[data-smoothing]");
    const [log, outliers, columns] = ["log", "outliers", "columns"].map((name) => form.querySelector(`[data-${name}]`));
    smoothing.value = this.ways.smoothing || 0;
    log.checked = this.ways.log === "1";
    outliers.checked = this.ways.outliers === "0";
    columns.value = this.ways.columns || "";
    const say = () => { smoothing.nextElementSibling.textContent = Number(smoothing.value) || "0"; };
    say();
    smoothing.addEventListener("input", () => { say(); this.look({ smoothing: Number(smoothing.value) ? smoothing.value : null }); });
    log.addEventListener("change", () => this.look({ log: log.checked ? "1" : null }));
    outliers.addEventListener("change", () => this.look({ outliers: outliers.checked ? "0" : null }));
    columns.addEventListener("change", () => this.look({ columns: columns.value || null }));
    this.panel.dataset.columns = this.ways.columns || "";
    const search = form.querySelector("[data-tag-search]");
    search.addEventListener("input", () => this.search(search.value));
  }

  look(changed) {
    Object.assign(this.ways, changed);
    history.replaceState(history.state, "", this.carried(new URL(location.href)));
    this.panel.dataset.columns = this.ways.columns || "";
    for (const card of this.cards.values()) card.chart?.setOptions(this.options());
  }

  // While a tag is typed only what is on the page is searched; Enter asks the server.
  search(text) {
    const wanted = text.trim().toLowerCase();
    for (const group of this.panel.querySelectorAll(".chart-group")) {
      const figures = [...group.querySelectorAll("figure.overlay")];
      for (const figure of figures) figure.hidden = !figure.dataset.tag.toLowerCase().includes(wanted);
      group.hidden = figures.every((figure) => figure.hidden);
    }
  }

  // Cards came near: those over steps and time are asked for together, as far as one request may go.
  show(figures) {
    const near = figures.map((figure) => this.cards.get(figure)).filter(Boolean);
    for (const card of near) card.wake();
    const plain = near.filter((card) => !card.compared);
    near.filter((card) => card.compared).forEach((card) => card.compare());
    for (const batch of batches(plain.filter((card) => card.lacking().length))) this.load(batch);
  }

  async load(batch) {
    const runs = batch[0].lacking();
    try {
      const { series } = await loadSeries({ runs, tags: batch.map((card) => card.tag), points: few(this.runs.size), axis: batch[0].axis });
      for (const card of batch) card.take(runs, series.filter((one) => one.tag === card.tag));
    } catch (error) {
      for (const card of batch) card.fail(error);
    }
  }

  drop(element, card) {
    card.sleep();
    this.cards.delete(element);
  }
}

// Cards that lack the same runs, in portions that the server decodes exactly.
function batches(cards) {
  const made = new Map();
  for (const card of cards) {
    const key = card.lacking().join(" ");
    const open = made.get(key)?.at(-1);
    if (open && open.length < MAX_TAGS && open.points + card.points <= AT_ONCE) {
      open.push(card);
      open.points += card.points;
    } else {
      const batch = Object.assign([card], { points: card.points });
      made.set(key, [...(made.get(key) || []), batch]);
    }
  }
  return [...made.values()].flat();
}

class Card {
  constructor(figure, panel, all) {
    Object.assign(this, { figure, panel, all, loaded: new Map(), chart: null, asking: null });
    this.tag = figure.dataset.tag;
    this.axis = panel.dataset.axis;
    this.compared = Boolean(panel.dataset.x || panel.dataset.group);
  }

  get runs() {
    return this.figure.dataset.runs.split(" ").map(Number);
  }

  get points() {
    return Number(this.figure.dataset.points) || 0;
  }

  lacking() {
    return this.runs.filter((run) => !this.loaded.has(run));
  }

  wake() {
    if (!this.chart) {
      const { x } = this.panel.dataset;
      this.chart = new Chart(this.figure.querySelector(".canvas"), {
        ...this.all.options(), title: this.tag, axis: x ? "number" : this.axis, xTitle: x || "",
        onZoom: (range) => this.zoom(range),
      });
    }
    if (!this.compared && !this.lacking().length) this.draw();
  }

  // Far off: what it holds is given back.
  sleep() {
    this.asking?.abort();
    this.chart?.destroy();
    this.chart = null;
    this.loaded.clear();
  }

  take(runs, series) {
    for (const run of runs) this.loaded.set(run, series.filter((one) => one.run === run));
    this.draw();
  }

  draw(finer) {
    if (!this.chart) return;
    this.said("");
    const mine = looks(this.all.runs.keys());
    this.chart.setLines(this.runs.flatMap((run) => (finer || this.loaded).get(run)?.flatMap((one) => linesOf(one, {
      axis: this.axis, look: mine.get(run), label: this.all.runs.get(run),
    })) || []));
  }

  without(run) {
    if (!this.chart || this.compared || !this.loaded.delete(run)) return;
    this.figure.dataset.runs = this.runs.filter((one) => one !== run).join(" ");
    this.draw();
  }

  // Finer points of what is looked at; without a range what was there before.
  async zoom(range) {
    if (this.compared) return void this.compare();
    if (!range) return void this.draw();
    const { runs } = this;
    await this.ask(async (signal) => {
      const { series } = await loadSeries({ runs, tags: [this.tag], points: few(runs.length), axis: this.axis, from: range[0], to: range[1], signal });
      this.draw(new Map(runs.map((run) => [run, series.filter((one) => one.run === run)])));
    });
  }

  // A metric as x axis, or groups: joined and averaged on the server, as finely as what is looked at needs.
  async compare() {
    const { api, x, axis, group, spread } = this.panel.dataset;
    const query = new URLSearchParams({ tag: this.tag, x: x ? this.panel.dataset.askedX : axis, group, spread: spread || "range" });
    for (const run of this.runs) query.append("run", run);
    const { range } = this.chart.options;
    if (range) ["from", "to"].forEach((end, at) => query.set(end, range[at]));
    await this.ask(async (signal) => {
      const told = await getJSON(`${api}?${query}`, { signal });
      if (!this.chart) return;
      this.said(told.runs.length + told.groups.length ? "" : "No run has both metrics.");
      const mine = looks(this.all.runs.keys());
      this.chart.setLines([
        ...told.runs.map((line) => overMetric(line, mine.get(line.run), this.all.runs.get(line.run))),
        ...told.groups.map((line) => ofGroup(line, groupLook(this.panel, line.name), spread)),
      ]);
    });
  }

  async ask(question) {
    this.asking?.abort();
    this.asking = new AbortController();
    try {
      await question(this.asking.signal);
    } catch (error) {
      this.fail(error);
    }
  }

  fail(error) {
    if (error.name !== "AbortError") this.said(error.status ? error.message : "Its points could not be read. Reload the page to try again.");
  }

  said(text) {
    let box = this.figure.querySelector(".box");
    if (!text) return void box?.remove();
    if (!box) this.figure.append(box = Object.assign(document.createElement("p"), { className: "box warn" }));
    box.textContent = text;
  }
}

const numbers = (values) => Float64Array.from(values, (value) => value ?? NaN);

// Where x turns back there is no way from point to point: each stands alone.
function overMetric({ at, values, path }, look, label) {
  return { x: numbers(at), y: numbers(values), look, label, breaks: path ? [] : [...at.keys()] };
}

function ofGroup({ name, runs, at, mean, low, high, count }, look, spread) {
  const band = spread === "none" || runs.length < 2 ? {} : { low: numbers(low), high: numbers(high) };
  return { x: numbers(at), y: numbers(mean), look, label: name, counts: count, ...band };
}

function groupLook(panel, name) {
  const entry = [...panel.querySelectorAll("[data-group-look]")].find((one) => one.dataset.groupLook === name);
  return { colour: Number(entry?.dataset.colour ?? 0), dash: Number(entry?.dataset.dash ?? 0) };
}

// Names of the runs whose eye is open, by id, in the order of the list.
function shownRuns() {
  const open = document.querySelectorAll(".listed li.on[data-run]");
  return new Map([...open].map((row) => [Number(row.dataset.run), row.querySelector(".who a").textContent]));
}

const questionOf = ({ dataset }) => [dataset.askedX, dataset.group, dataset.spread].join("\n");
