// Points from /api/series/ (docs/api.md, "Series"), as typed arrays over the answer's own bytes.
//
//   const {series} = await loadSeries({runs: [7, 9], tags: ["loss"], points: 1000, axis: "step", from, to, signal});
//   chart.setLines(series.flatMap((one) => linesOf(one, {axis: "step", look: looks.get(one.run)})));

import { getBytes } from "./fetching.js";

const MAGIC = 0x31534d54; // TMS1
const COLUMNS = ["step", "wall", "value", "mean"];
const ADDRESS = "/api/series/";
//: What one request may ask for (runs/api/series.py).
export const MAX_TAGS = 50;

// {runs: [{id, name, version}], series: [{run, tag, count, origin, coarse, writers, restarts, lines}]};
// each line has step, wall, value and, where thinned, mean as Float64Array.  A frame of /ws/live/ has the line that is new.
export async function loadSeries({ runs, tags, points = 1000, from = null, to = null, axis = "step", signal }) {
  const query = new URLSearchParams({ points, axis, format: "binary" });
  for (const run of runs) query.append("run", run);
  for (const tag of tags) query.append("tag", tag);
  if (from !== null) query.set("from", from);
  if (to !== null) query.set("to", to);
  return decode(await getBytes(`${ADDRESS}?${query}`, { signal }));
}

export function decode(buffer) {
  const view = new DataView(buffer);
  if (buffer.byteLength < 8 || view.getUint32(0, true) !== MAGIC) throw new Error("This is no answer of /api/series/.");
  const length = view.getUint32(4, true);
  const answer = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  for (const series of answer.series) {
    for (const line of series.lines || [series.line]) {
      for (const name of COLUMNS) {
        if (line[name]) line[name] = new Float64Array(buffer, 8 + length + line[name][0], line[name][1]);
      }
    }
  }
  return answer;
}

// The lines of one series for a Chart: writers beside one another take the next colours.
export function linesOf(series, { axis = "step", look = { colour: 0, dash: 0 }, label = "" } = {}) {
  const several = series.writers.length > 1;
  return series.lines.map((line) => ({
    x: placed(line.step, line.wall, axis, series.origin),
    y: line.value,
    mean: line.mean,
    breaks: line.breaks,
    look: { colour: (look.colour + line.writer) % 10, dash: (look.dash + Math.floor(line.writer / 10)) % 6 },
    label: [label, several ? series.writers[line.writer] : ""].filter(Boolean).join(" · ") || series.tag,
    old: line.old,
    marks: marksOf(line, axis, series.origin),
  }));
}

// Where later attempts took over, as rules across a Chart.
export function rulesOf(series, axis = "step") {
  return series.restarts.map(({ step, wall, reason }) => ({
    x: placed([step], [wall], axis, series.origin)[0],
    title: `${reason} at step ${step.toLocaleString("en-US")}`,
  })).filter((rule) => Number.isFinite(rule.x));
}

function marksOf(line, axis, origin) {
  const { kind, step, wall, count } = line.marks;
  const x = placed(step, wall, axis, origin);
  return kind.map((name, at) => ({ x: x[at], kind: name, count: count[at] }));
}

export function placed(step, wall, axis, origin) {
  if (axis === "step") return step;
  return axis === "wall" ? wall : wall.map((at) => at - origin);
}
