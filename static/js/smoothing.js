// Smoothing as TensorBoard does it: an exponential average without the pull of its start.
//
// The weight is that of one point, of a line of more than WIDTH points that of a WIDTH-th of the
// range: so a line looks the same whether it was thinned or not, and logged at even steps or not.

const WIDTH = 1000;

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
