// What a chart puts on its canvas: strokes, bands, marks on the edge.

import { DASHES } from "./colours.js";

export const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// One line; a stroke ends at breaks and where y is no number.  A point alone is a dot.
export function stroke(u, line, y, alpha) {
  const { ctx } = u;
  const [begins, across, up] = [new Set(line.breaks || []), pixels(u, "x"), pixels(u, "y")];
  const [dots, dpr] = [[], devicePixelRatio];
  ctx.globalAlpha = alpha;
  ctx.lineWidth = 1.5 * dpr;
  ctx.setLineDash((DASHES[line.look.dash] || []).map((n) => n * dpr));
  ctx.beginPath();
  let length = 0;
  for (let at = 0; at <= y.length; at += 1) {
    const there = at < y.length && Number.isFinite(y[at]) && (u.scales.y.distr !== 3 || y[at] > 0);
    if ((!there || begins.has(at)) && length === 1) dots.push(at - 1);
    if (!there) length = 0;
    else {
      if (length === 0 || begins.has(at)) length = 0;
      if (length === 0) ctx.moveTo(across(line.x[at]), up(y[at]));
      else ctx.lineTo(across(line.x[at]), up(y[at]));
      length += 1;
    }
  }
  ctx.stroke();
  ctx.setLineDash([]);
  for (const at of dots) {
    ctx.beginPath();
    ctx.arc(across(line.x[at]), up(y[at]), 2 * dpr, 0, 7);
    ctx.fill();
  }
}

export function fillBand(u, line) {
  const { ctx } = u;
  const [across, up] = [pixels(u, "x"), pixels(u, "y")];
  const there = Array.from(line.x.keys()).filter((at) => Number.isFinite(line.low[at]) && Number.isFinite(line.high[at]));
  ctx.globalAlpha = 0.18;
  ctx.beginPath();
  for (const at of there) ctx.lineTo(across(line.x[at]), up(line.high[at]));
  for (const at of there.reverse()) ctx.lineTo(across(line.x[at]), up(line.low[at]));
  ctx.fill();
}

// NaN and Inf as ticks on the edge where they would leave the chart.
export function drawMarks(u, marks) {
  const { ctx, bbox } = u;
  const long = 7 * devicePixelRatio;
  ctx.lineWidth = 1.5 * devicePixelRatio;
  for (const { x, kind } of marks) {
    const at = u.valToPos(x, "x", true);
    ctx.strokeStyle = css(kind === "nan" ? "--failed" : "--stalled");
    ctx.beginPath();
    ctx.moveTo(at, kind === "inf" ? bbox.top : bbox.top + bbox.height);
    ctx.lineTo(at, kind === "inf" ? bbox.top + long : bbox.top + bbox.height - long);
    ctx.stroke();
  }
}

// From a value to the canvas, without uPlot's look-ups for each point; far outside is kept near.
function pixels(u, key) {
  const scale = u.scales[key];
  const along = scale.distr === 3 ? Math.log10 : (value) => value / 2; // halves: their distance stays finite
  const [low, high] = [along(scale.min), along(scale.max)];
  const [from, size] = key === "x" ? [u.bbox.left, u.bbox.width] : [u.bbox.top + u.bbox.height, -u.bbox.height];
  return (value) => from + Math.min(1e4, Math.max(-1e4, (along(value) - low) / (high - low))) * size;
}
