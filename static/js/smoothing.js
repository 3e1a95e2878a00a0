// Smoothing as TensorBoard does it: an exponential average without the pull of its start.
//
// The weight is that of one point, of a line of more than WIDTH points that of a WIDTH-th of the
// range: so a line looks the same whether it was thinned or not, and logged at even steps or not.

const WIDTH = 500;

// The means of a thinned line, one a bucket, between the points that remain of it (two, or one where they are the same).
export function means({ x, mean, breaks = [] }) {
  const [begins, xs, ys, ends] = [new Set(breaks), [], [], []];
  for (let at = 0; at < mean.length; at += 1) {
    const pair = at + 1 < mean.length && Object.is(mean[at], mean[at + 1]) && !begins.has(at + 1);
    if (begins.has(at)) ends.push(xs.length);
    xs.push(pair ? (x[at] + x[at + 1]) / 2 : x[at]);
    ys.push(mean[at]);
    if (pair) at += 1;
  }
  return { x: Float64Array.from(xs), y: Float64Array.from(ys), breaks: ends };
}

// A Float64Array beside x; NaN where y is no finite number.  weight: 0 (none) to below 1.
export function smoothed(x, y, weight, low, high) {
  const made = new Float64Array(y.length);
  const scale = Math.min(WIDTH, y.length - 1) / (high - low || 1);
  let [sum, weights, before] = [0, 0, NaN];
  for (let at = 0; at < y.length; at += 1) {
    made[at] = NaN;
    if (!Number.isFinite(y[at])) continue;
    const kept = Number.isNaN(before) ? 0 : weight ** Math.max((x[at] - before) * scale, 1e-3);
    sum = sum * kept + y[at];
    weights = weights * kept + 1;
    made[at] = sum / weights;
    before = x[at];
  }
  return made;
}
