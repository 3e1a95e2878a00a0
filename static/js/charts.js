// A chart: lines over uPlot, which brings axes, zoom and a cursor that all charts of a page share.
//
//   const chart = new Chart(element, {axis: "step", smoothing: 0.6, onZoom: (range) => ...});
//   chart.setLines(lines);          // draws; keeps zoom and cursor
//   chart.setRules([{x, title}]);   // thin vertical lines (restarts)
//   chart.setOptions({log: true});  // any of the options below
//   chart.destroy();
//
// element: an empty block; the chart fills it, whatever its size, and follows when it changes.
// line: {x, y: arrays of numbers (NaN: nothing there), sorted by x;
//        look: {colour: 0..9, dash: 0..5} (colours.js); label: text for the reading;
//        mean: what smoothing runs on (y where missing); breaks: places where a new stroke begins;
//        old: superseded, drawn faint and hidden with segments; marks: [{x, kind: "nan"|"inf"|"-inf", count}];
//        low, high: edges of a band around the line; counts: of how many runs each point is the mean}          all but x, y, look may be missing
// options: axis "step" | "wall" | "relative" | "number"; xTitle; smoothing 0..0.999; log (y);
//        outliers (true: all shown; false: y from the 1st to the 99th percentile); segments (true);
//        range [low, high] or null: what of x is shown; title, for readers of the screen and the file;
//        onZoom(range or null), after a drag, a double click or the keys: fetch finer points, then setLines;
//        onReading(reading or null): {x, text, values: [{line, value}]} under the cursor, also of another chart.
// Lines of more than one chart are not shared: what is destroyed gives its memory back.

import { AXES, alike, logarithmic } from "./axes.js";
import { extent, nearest, padded, percentiles, widened, within } from "./bounds.js";
import { cssColour } from "./colours.js";
import { number } from "./numbers.js";
import { means, smoothed } from "./smoothing.js";
import { css, drawMarks, fillBand, stroke } from "./strokes.js";

const DEFAULTS = { axis: "step", xTitle: "", smoothing: 0, log: false, outliers: true, segments: true, range: null, title: "" };
const FONT = "11px system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif";
const SYNC = "charts";
const READ_AT_MOST = 12;
const living = new Set();

new MutationObserver(() => living.forEach((chart) => chart.redraw())).observe(document.documentElement, { attributeFilter: ["data-theme"] });

// On paper in the colours of the light theme.
let theme;
addEventListener("beforeprint", () => {
  theme = document.documentElement.dataset.theme;
  document.documentElement.dataset.theme = "light";
});
addEventListener("afterprint", () => { document.documentElement.dataset.theme = theme; });

export class Chart {
  constructor(element, options = {}) {
    this.element = element;
    this.options = { ...DEFAULTS, ...options };
    this.lines = [];
    this.rules = [];
    this.tip = Object.assign(document.createElement("div"), { className: "chart-tip", hidden: true });
    element.classList.add("chart");
    element.tabIndex = 0;
    element.setAttribute("role", "group");
    element.setAttribute("aria-roledescription", "chart");
    element.setAttribute("aria-label", `${this.options.title || "chart"}: arrows read values, plus and minus zoom, Escape zooms out`);
    this.onKey = (event) => this.#key(event);
    element.addEventListener("keydown", this.onKey);
    this.watch = new ResizeObserver(() => this.#resize());
    this.watch.observe(element);
    living.add(this);
  }

  setLines(lines) {
    this.lines = lines;
    this.#refresh();
  }

  setRules(rules) {
    this.rules = rules;
    this.redraw();
  }

  setOptions(options) {
    const remake = ["axis", "xTitle", "log"].some((name) => name in options && options[name] !== this.options[name]);
    if ("axis" in options && options.axis !== this.options.axis) this.options.range = null;
    Object.assign(this.options, options);
    if (remake) this.#drop();
    this.#refresh();
  }

  // Colours anew, nothing else.
  redraw() {
    this.plot?.redraw(false, true);
  }

  // The chart as it stands, for a file: a canvas with its title on the page's ground.
  picture() {
    const from = this.plot.ctx.canvas;
    const top = 28 * devicePixelRatio;
    const canvas = Object.assign(document.createElement("canvas"), { width: from.width, height: from.height + top });
    const ctx = canvas.getContext("2d");
    ctx.fillStyle = css("--panel");
    ctx.fillRect(0, 0, canvas.width, canvas.height);
    ctx.fillStyle = css("--text");
    ctx.font = `600 ${13 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.fillText(this.options.title, 12 * devicePixelRatio, 19 * devicePixelRatio, canvas.width);
    ctx.drawImage(from, 0, top);
    return canvas;
  }

  destroy() {
    living.delete(this);
    this.watch.disconnect();
    this.element.removeEventListener("keydown", this.onKey);
    this.#drop();
    this.element.replaceChildren();
    this.lines = [];
    this.smooth = [];
  }

  // What is drawn and over which ranges, then the plot.
  #refresh() {
    const { range, smoothing, segments } = this.options;
    this.shown = this.lines.filter((line) => segments || !line.old);
    this.xs = range || widened(extent(this.shown.map((line) => line.x)), 0);
    this.smooth = this.shown.map((line) => (line.old ? null : drawnOver(line, smoothing, this.xs)));
    this.ys = this.#values();
    const data = [this.xs, this.ys];
    if (this.plot) this.plot.setData(data);
    else if (this.element.clientWidth && this.element.clientHeight) this.#make(data);
  }

  // The bounds of y over what is shown of x.
  #values() {
    const { log, outliers } = this.options;
    const [low, high] = this.xs;
    const some = [];
    for (const line of this.shown) {
      const [begin, end] = within(line.x, low, high);
      for (const column of [line.y, line.low, line.high]) if (column) some.push(column.subarray ? column.subarray(begin, end) : column.slice(begin, end));
    }
    const usable = (value) => Number.isFinite(value) && (!log || value > 0);
    if (!outliers) return padded(percentiles(some, usable), log);
    return padded(extent(some, usable), log);
  }

  #make(data) {
    const axis = AXES[this.options.axis];
    const { log } = this.options;
    const quiet = () => css("--quiet");
    const look = { stroke: quiet, font: FONT, ticks: { show: false }, grid: { stroke: () => css("--rule"), width: 1 } };
    const across = { ...look, size: 24, gap: 4, space: 64 };
    if (this.options.xTitle) Object.assign(across, { label: this.options.xTitle, labelFont: FONT, labelSize: 14, labelGap: 0 });
    if (axis.values) across.values = axis.values;
    if (axis.incrs) across.incrs = axis.incrs;
    const values = log ? (u, at) => logarithmic(at, u.scales.y.min, u.scales.y.max) : (u, at) => alike(at);
    const up = { ...look, values, gap: 6, space: 30, size: (u, labels) => Math.ceil(Math.max(34, ...(labels || []).map((text) => wide(u, text) + 14))) };
    this.plot = new uPlot({
      ...this.#size(),
      tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
      padding: [8, 10, 0, 0],
      legend: { show: false },
      focus: { alpha: 1 },
      scales: { x: { time: Boolean(axis.time), range: () => this.xs }, y: { distr: log ? 3 : 1, range: () => this.ys } },
      axes: [across, up],
      series: [{}, { paths: () => null, points: { show: false } }],
      cursor: {
        y: false, points: { show: false },
        drag: { x: true, y: false, setScale: false },
        // the cursor is shared, a drag is not
        sync: { key: SYNC, setSeries: false, scales: ["x", null], filters: { pub: (type) => type === "mousemove" || type === "mouseleave" } },
        bind: { dblclick: () => () => this.#zoom(null) },
      },
      hooks: {
        draw: [(u) => this.#draw(u)],
        setSelect: [(u) => this.#select(u)],
        setCursor: [(u) => this.#read(u)],
      },
    }, data, this.element);
    this.plot.over.append(this.tip);
    this.plot.over.addEventListener("pointerenter", () => { this.hovered = true; });
    this.plot.over.addEventListener("pointerleave", () => { this.hovered = false; });
  }

  #size() {
    return { width: Math.max(40, this.element.clientWidth), height: Math.max(40, this.element.clientHeight) };
  }

  #resize() {
    if (this.plot) this.plot.setSize(this.#size());
    else if (this.lines.length) this.#refresh();
  }

  #drop() {
    if (!this.plot) return;
    const { canvas } = this.plot.ctx;
    this.plot.destroy();
    this.plot = null;
    // else its pixels stay until the next collection, which a small heap puts off (150 MB after 200 charts)
    canvas.width = canvas.height = 0;
  }

  // All lines, from the raw faint ones up to the smoothed.
  #draw(u) {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top - 1, bbox.width, bbox.height + 2);
    ctx.clip();
    ctx.lineJoin = ctx.lineCap = "round";
    if (this.options.segments) this.#drawRules(u);
    this.shown.forEach((line, at) => {
      ctx.strokeStyle = ctx.fillStyle = cssColour(line.look);
      if (line.low && line.high) fillBand(u, line);
      stroke(u, line, line.y, line.old ? 0.3 : this.smooth[at] ? 0.35 : 1);
    });
    this.shown.forEach((line, at) => {
      ctx.strokeStyle = ctx.fillStyle = cssColour(line.look);
      if (this.smooth[at]) stroke(u, this.smooth[at], this.smooth[at].y, 1);
    });
    ctx.setLineDash([]);
    ctx.globalAlpha = 1;
    this.shown.forEach((line) => drawMarks(u, line.marks || []));
    ctx.restore();
  }

  #drawRules(u) {
    const { ctx, bbox } = u;
    ctx.strokeStyle = css("--quiet");
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([2, 3].map((n) => n * devicePixelRatio));
    ctx.beginPath();
    for (const rule of this.rules) {
      const x = Math.round(u.valToPos(rule.x, "x", true)) + 0.5;
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
    }
    ctx.stroke();
  }

  #select(u) {
    const { left, width } = u.select;
    if (width < 4) return;
    const range = [u.posToVal(left, "x"), u.posToVal(left + width, "x")];
    u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    this.#zoom(range);
  }

  #zoom(range) {
    if (!range && !this.options.range) return;
    this.options.range = range;
    this.#refresh();
    this.options.onZoom?.(range);
  }

  // What lies under the cursor: told to whom it concerns, and beside the pointer.
  #read(u) {
    const left = u.cursor.left;
    if (left === undefined || left < 0 || !this.shown.length) {
      this.tip.hidden = true;
      this.options.onReading?.(null);
      return;
    }
    const x = u.posToVal(left, "x");
    const reach = (this.xs[1] - this.xs[0]) * 0.02;
    const values = this.shown.map((line, at) => ({ line, at: nearest(line.x, x), smooth: this.smooth[at] }))
      .filter(({ line, at }) => !line.old && at >= 0 && (line.x[0] <= x + reach && line.x[line.x.length - 1] >= x - reach))
      .map(({ line, at, smooth }) => ({ line, x: line.x[at], value: line.y[at], smooth: smooth ? smooth.y[nearest(smooth.x, x)] : null, count: line.counts?.[at] }));
    const text = AXES[this.options.axis].read(values.length === 1 ? values[0].x : x);
    this.options.onReading?.({ x, text, values });
    this.tip.hidden = !(this.hovered || this.element.matches(":focus-visible")) || !values.length;
    if (!this.tip.hidden) this.#tell(u, text, values, this.#beside(u, x));
  }

  // Rules and marks within a few pixels of the cursor.
  #beside(u, x) {
    const near = (4 / u.over.clientWidth) * (this.xs[1] - this.xs[0]);
    const rules = this.options.segments ? this.rules.filter((rule) => Math.abs(rule.x - x) <= near).map((rule) => rule.title) : [];
    const marks = this.shown.flatMap((line) => (line.marks || []).filter((mark) => Math.abs(mark.x - x) <= near));
    const names = { nan: "NaN", inf: "Inf", "-inf": "-Inf" };
    const counts = Object.entries(names).map(([kind, name]) => [marks.filter((mark) => mark.kind === kind).reduce((sum, mark) => sum + mark.count, 0), name]);
    return [...rules.slice(0, 3), ...counts.filter(([count]) => count).map(([count, name]) => `${count.toLocaleString("en-US")} × ${name}`)];
  }

  #tell(u, text, values, notes) {
    const sorted = values.toSorted((a, b) => b.value - a.value);
    const rows = sorted.slice(0, READ_AT_MOST).map((one) => reading(one, values.length > 1));
    if (sorted.length > READ_AT_MOST) rows.push(note(`${sorted.length - READ_AT_MOST} more`));
    const head = Object.assign(document.createElement("b"), { textContent: text });
    this.tip.replaceChildren(head, ...rows, ...notes.map(note));
    // right of the cursor, else left of it; it may be wider than its chart, but does not leave the page
    const [from, wide] = [u.over.getBoundingClientRect().left, this.tip.offsetWidth];
    const fits = from + u.cursor.left + 12 + wide <= document.documentElement.clientWidth - 8;
    this.tip.style.left = `${Math.max(8 - from, fits ? u.cursor.left + 12 : u.cursor.left - 12 - wide)}px`;
  }

  #key(event) {
    const u = this.plot;
    if (!u || event.target !== this.element || event.ctrlKey || event.metaKey || event.altKey) return;
    const [low, high] = this.xs;
    const at = u.cursor.left >= 0 ? u.cursor.left : u.over.clientWidth / 2;
    const step = (event.shiftKey ? 0.1 : 0.01) * u.over.clientWidth;
    const moves = { ArrowLeft: -step, ArrowRight: step };
    if (event.key in moves) u.setCursor({ left: Math.min(u.over.clientWidth - 1, Math.max(0, at + moves[event.key])), top: 10 });
    else if (event.key === "Home") u.setCursor({ left: 0, top: 10 });
    else if (event.key === "End") u.setCursor({ left: u.over.clientWidth - 1, top: 10 });
    else if (event.key === "+" || event.key === "-") {
      const middle = u.posToVal(at, "x");
      const wide = (high - low) * (event.key === "+" ? 0.25 : 1);
      const whole = extent(this.shown.map((line) => line.x));
      this.#zoom(event.key === "-" && middle - wide <= whole[0] && middle + wide >= whole[1] ? null : [middle - wide, middle + wide]);
    } else if (event.key === "Escape" && this.options.range) this.#zoom(null);
    else return;
    event.preventDefault();
  }
}

// What is drawn strong over the raw line: its smoothed course, of a thinned one at least the means of its buckets.
function drawnOver(line, smoothing, xs) {
  const raw = line.mean ? means(line) : { x: line.x, y: line.y, breaks: line.breaks };
  if (!smoothing) return line.mean ? { ...raw, look: line.look } : null;
  return { ...raw, y: smoothed(raw.x, raw.y, smoothing, ...xs), look: line.look };
}

function wide(u, text) {
  u.ctx.font = FONT;
  return u.ctx.measureText(text).width;
}

function note(text) {
  return Object.assign(document.createElement("i"), { textContent: text });
}

function reading({ line, value, smooth, count }, named) {
  const row = document.createElement("span");
  const swatch = document.createElement("u");
  swatch.style.borderTopColor = cssColour(line.look);
  swatch.style.borderTopStyle = line.look.dash ? "dashed" : "solid";
  const said = Object.assign(document.createElement("b"), { textContent: number(smooth ?? value) });
  row.append(swatch, said);
  if (smooth !== null) row.append(Object.assign(document.createElement("small"), { textContent: number(value) }));
  if (named || count) row.append(Object.assign(document.createElement("em"), { textContent: count ? `${line.label} (${count})` : line.label }));
  return row;
}
