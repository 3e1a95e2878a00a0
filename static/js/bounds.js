// Bounds of what is shown, and places in sorted columns.

// Bounds of all usable numbers; NaN where there is none.
export function extent(columns, usable = Number.isFinite) {
  let [low, high] = [Infinity, -Infinity];
  for (const column of columns) {
    for (let at = 0; at < column.length; at += 1) {
      const value = column[at];
      if (!usable(value)) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  return low <= high ? [low, high] : [NaN, NaN];
}

export function percentiles(columns, usable) {
  const all = Float64Array.from(columns.flatMap((column) => Array.from(column).filter(usable))).sort();
  if (!all.length) return [NaN, NaN];
  return [all[Math.floor((all.length - 1) * 0.01)], all[Math.ceil((all.length - 1) * 0.99)]];
}

export function widened([low, high], share) {
  if (Number.isNaN(low)) return [0, 1];
  const air = (high - low) * share || (high > low ? 0 : 0.5);
  return [low - air, high + air];
}

// With some air above and below.
export function padded([low, high], log) {
  if (Number.isNaN(low)) return log ? [0.1, 1] : [0, 1];
  if (log) return low < high ? [low / (high / low) ** 0.05, high * (high / low) ** 0.05] : [low / 2, high * 2];
  const air = (high / 2 - low / 2) * 0.1 || Math.abs(high) * 0.1 || 1;
  return [Math.max(low - air, -Number.MAX_VALUE), Math.min(high + air, Number.MAX_VALUE)];
}

// The first place whose x is at least ``value``.
export function place(x, value) {
  let [low, high] = [0, x.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (x[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

export function within(x, low, high) {
  let end = place(x, high);
  while (end < x.length && x[end] <= high) end += 1;
  return [place(x, low), end];
}

export function nearest(x, value) {
  const at = place(x, value);
  if (at === 0) return x.length ? 0 : -1;
  return at === x.length || value - x[at - 1] < x[at] - value ? at - 1 : at;
}
