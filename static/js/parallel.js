// Parallel coordinates: an axis a parameter, a line a run, coloured by the last axis.
//
// Dragging along an axis, or giving bounds in its fields, keeps the runs within; the others fade.

import { number } from "./numbers.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 340;
const TOP = 34;
const BOTTOM = 30;
const MISSING = 22;
const SHADES = 8;
const NARROWEST = 118;
// Up to so many distinct values an axis is marked at these, not at even distances.
const FEW = 7;

export function drawParallel(box, data, counted) {
  new Parallel(box, data, counted).draw();
}

class Parallel {
  constructor(box, data, counted) {
    this.box = box;
    this.runs = data.runs;
    this.axes = data.axes.map((axis, at) => new Axis(axis, at));
    this.counted = counted;
  }

  draw() {
    const width = Math.max(this.box.clientWidth, this.axes.length * NARROWEST);
    const step = width / this.axes.length;
    for (const axis of this.axes) axis.x = step * (axis.at + 0.5);
    const svg = element("svg", { width, height: HEIGHT, role: "img", "aria-label": this.said() });
    this.lines = this.runs.map((run, at) => this.line(run, at));
    // the lines with the best known values last, so that they lie on top
    svg.append(...this.lines.map((line) => line.node), ...this.axes.map((axis) => axis.draw()));
    for (const axis of this.axes) this.brushing(svg, axis);
    const fields = document.createElement("div");
    fields.className = "brushes";
    fields.style.setProperty("width", `${width}px`);
    fields.append(...this.axes.map((axis) => axis.fields(() => this.filter())));
    const scroll = document.createElement("div");
    scroll.className = "parallel-scroll";
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", "Parallel coordinates");
    scroll.append(svg, fields);
    this.box.replaceChildren(scroll, this.shades());
    this.filter();
  }

  said() {
    return `${this.runs.length} runs over ${this.axes.map((axis) => axis.name).join(", ")}; the same values are in the table below`;
  }

  line(run, at) {
    const d = this.axes.map((axis, n) => `${n ? "L" : "M"}${axis.x.toFixed(1)} ${axis.y(axis.values[at]).toFixed(1)}`).join("");
    const last = this.axes[this.axes.length - 1];
    const share = last.share(last.values[at]);
    const shade = share === null ? "none" : `s${Math.min(SHADES - 1, Math.floor(share * SHADES))}`;
    const node = element("path", { d, class: `thread ${shade}` });
    const title = element("title");
    title.textContent = [run.name, ...this.axes.map((axis) => `${axis.name}: ${axis.text(axis.values[at])}`)].join("\n");
    node.append(title);
    node.addEventListener("click", () => location.assign(run.url));
    return { node, run };
  }

  brushing(svg, axis) {
    const grip = axis.grip;
    let from = null;
    const at = (event) => event.clientY - svg.getBoundingClientRect().top;
    grip.addEventListener("pointerdown", (event) => {
      from = at(event);
      grip.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    grip.addEventListener("pointermove", (event) => {
      if (from === null || Math.abs(at(event) - from) < 4) return;
      axis.brush(from, at(event));
      this.filter();
    });
    grip.addEventListener("pointerup", (event) => {
      if (from !== null && Math.abs(at(event) - from) < 4) {
        axis.clear();
        this.filter();
      }
      from = null;
    });
  }

  filter() {
    let kept = 0;
    this.lines.forEach((line, at) => {
      const on = this.axes.every((axis) => axis.holds(axis.values[at]));
      line.node.classList.toggle("off", !on);
      const row = document.querySelector(`tr[data-row="${line.run.id}"]`);
      if (row) row.hidden = !on;
      kept += on;
    });
    for (const axis of this.axes) axis.showBrush();
    const brushed = this.axes.some((axis) => axis.brushed);
    this.counted(kept, this.runs.length, brushed, () => {
      for (const axis of this.axes) axis.clear();
      this.filter();
    });
  }

  shades() {
    const last = this.axes[this.axes.length - 1];
    const legend = document.createElement("p");
    legend.className = "shades";
    if (last.kind === "word" || last.low === null) return legend;
    const bar = element("svg", { width: 160, height: 10, "aria-hidden": "true" });
    for (let n = 0; n < SHADES; n += 1) bar.append(element("rect", { x: n * 20, width: 20, height: 10, class: `s${n}` }));
    legend.append(`${last.name}: ${number(last.low)} `, bar, ` ${number(last.high)}`);
    return legend;
  }
}

class Axis {
  constructor({ name, kind, values, words }, at) {
    Object.assign(this, { name, kind, values, words, at, x: 0, from: null, to: null });
    const known = values.filter((value) => value !== null);
    this.low = known.length ? known.reduce((a, b) => Math.min(a, b)) : null;
    this.high = known.length ? known.reduce((a, b) => Math.max(a, b)) : null;
  }

  // The share of the axis at which a value stands, 0 at the bottom; null where it is missing.
  share(value) {
    if (value === null) return null;
    if (this.kind === "word") return this.words.length > 1 ? value / (this.words.length - 1) : 0.5;
    if (this.low === this.high) return 0.5;
    const of = this.kind === "log" ? Math.log : (v) => v / 2;
    return (of(value) - of(this.low)) / (of(this.high) - of(this.low));
  }

  value(share) {
    if (this.kind === "word") return share * (this.words.length - 1);
    if (this.kind === "log") return Math.exp(Math.log(this.low) + share * (Math.log(this.high) - Math.log(this.low)));
    return this.low + share * (this.high - this.low);
  }

  y(value) {
    const share = this.share(value);
    const floor = HEIGHT - BOTTOM - MISSING;
    return share === null ? HEIGHT - BOTTOM : floor - share * (floor - TOP);
  }

  text(value) {
    if (value === null) return "–";
    return this.kind === "word" ? this.words[value] : number(value);
  }

  draw() {
    const group = element("g", { class: "axis" });
    const floor = HEIGHT - BOTTOM - MISSING;
    group.append(element("line", { x1: this.x, x2: this.x, y1: TOP, y2: floor }));
    const title = element("text", { x: this.x, y: 16, class: "name" });
    title.textContent = this.name.length > 18 ? `…${this.name.slice(-17)}` : this.name;
    const full = element("title");
    full.textContent = this.name;
    title.append(full);
    group.append(title);
    for (const [share, text] of this.ticks()) {
      const label = element("text", { x: this.x + 6, y: floor - share * (floor - TOP) - 4, class: "tick" });
      label.textContent = text.length > 14 ? `${text.slice(0, 13)}…` : text;
      group.append(label);
    }
    if (this.values.includes(null)) {
      const none = element("text", { x: this.x + 6, y: HEIGHT - BOTTOM + 4, class: "tick" });
      none.textContent = "–";
      group.append(none);
    }
    this.band = element("rect", { x: this.x - 7, width: 14, class: "brush" });
    this.grip = element("rect", { x: this.x - 20, width: 40, y: TOP - 8, height: floor - TOP + 16, class: "grip" });
    group.append(this.band, this.grip);
    return group;
  }

  ticks() {
    if (this.low === null) return [];
    if (this.kind === "word") {
      const every = Math.ceil(this.words.length / 12);
      return this.words.map((word, n) => [this.share(n), word]).filter((_, n) => n % every === 0);
    }
    if (this.low === this.high) return [[0.5, number(this.low)]];
    const few = [...new Set(this.values.filter((value) => value !== null))];
    if (few.length <= FEW) return this.apart(few.map((value) => [this.share(value), rounded(value)]));
    const powers = this.kind === "log" ? decades(this.low, this.high) : [];
    if (powers.length > 1) return powers.map((value) => [this.share(value), rounded(value)]);
    return [0, 0.25, 0.5, 0.75, 1].map((share) => [share, rounded(this.value(share))]);
  }

  // Of ticks that would touch those that stand clear of the one below; the highest always.
  apart(ticks) {
    ticks.sort(([a], [b]) => a - b);
    const room = 13 / (HEIGHT - BOTTOM - MISSING - TOP);
    const kept = ticks.slice(-1);
    for (const tick of ticks.slice(0, -1)) if (kept.every(([share]) => Math.abs(share - tick[0]) >= room)) kept.push(tick);
    return kept;
  }

  get brushed() {
    return this.from !== null || this.to !== null;
  }

  holds(value) {
    if (!this.brushed) return true;
    if (value === null) return false;
    return (this.from === null || value >= this.from) && (this.to === null || value <= this.to);
  }

  brush(a, b) {
    if (this.low === null) return;
    const floor = HEIGHT - BOTTOM - MISSING;
    const shares = [a, b].map((y) => Math.min(1, Math.max(0, (floor - y) / (floor - TOP)))).sort((p, q) => p - q);
    [this.from, this.to] = shares.map((share) => this.value(share));
    // the ends are meant, whatever rounding made of them
    if (shares[0] === 0) this.from = this.kind === "word" ? 0 : this.low;
    if (shares[1] === 1) this.to = this.kind === "word" ? this.words.length - 1 : this.high;
    this.fill();
  }

  clear() {
    this.from = this.to = null;
    this.fill();
  }

  // Bounds as fields: what a drag does, by keyboard.
  fields(changed) {
    const group = document.createElement("div");
    group.setAttribute("role", "group");
    group.setAttribute("aria-label", this.name);
    if (this.kind === "word") {
      this.choice = document.createElement("select");
      this.choice.setAttribute("aria-label", `${this.name}: only`);
      this.choice.append(new Option("all", ""), ...this.words.map((word, n) => new Option(word.slice(0, 40), n)));
      this.choice.addEventListener("change", () => {
        this.from = this.to = this.choice.value === "" ? null : Number(this.choice.value);
        changed();
      });
      group.append(this.choice);
      return group;
    }
    this.bounds = ["from", "to"].map((side) => {
      const field = document.createElement("input");
      Object.assign(field, { type: "number", step: "any", placeholder: side === "from" ? "min" : "max" });
      field.setAttribute("aria-label", `${this.name}: at ${side === "from" ? "least" : "most"}`);
      field.addEventListener("input", () => {
        this[side] = field.value === "" || Number.isNaN(field.valueAsNumber) ? null : field.valueAsNumber;
        changed();
      });
      return field;
    });
    group.append(...this.bounds);
    return group;
  }

  fill() {
    if (this.choice) this.choice.value = this.from !== null && this.from === this.to ? String(this.from) : "";
    if (this.bounds) {
      this.bounds[0].value = this.from === null ? "" : String(Number(this.from.toPrecision(3)));
      this.bounds[1].value = this.to === null ? "" : String(Number(this.to.toPrecision(3)));
    }
  }

  showBrush() {
    const floor = HEIGHT - BOTTOM - MISSING;
    const [from, to] = [this.from ?? this.low, this.to ?? this.high];
    const clamp = (share) => (share > 0 ? Math.min(1, share) : 0); // also the logarithm of what has none
    const [a, b] = this.brushed && this.low !== null ? [clamp(this.share(from)), clamp(this.share(to))] : [0, 0];
    const pad = this.kind === "word" ? 6 : 1;
    this.band.setAttribute("y", floor - b * (floor - TOP) - pad);
    this.band.setAttribute("height", this.brushed ? Math.max(0, (b - a) * (floor - TOP)) + 2 * pad : 0);
  }
}

// 0.001 and 1.5, but 1e-4.
function rounded(value) {
  const text = String(Number(value.toPrecision(3)));
  return Math.abs(value) < 1e-3 && text.length > 5 ? Number(value.toPrecision(3)).toExponential() : text;
}

function decades(low, high) {
  const first = Math.ceil(Math.log10(low) - 1e-9);
  const powers = Array.from({ length: Math.floor(Math.log10(high) + 1e-9) - first + 1 }, (_, n) => Number(`1e${first + n}`));
  const every = Math.ceil(powers.length / 6);
  return powers.filter((_, n) => n % every === 0);
}

function element(name, attributes = {}) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}
