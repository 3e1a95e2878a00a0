// The axes of a chart: where their lines lie and how the numbers beside them are written
// (the same rules as runs/figures.py).

import { duration } from "./numbers.js";

const WHOLE = Array.from({ length: 19 }, (_, power) => [1, 2, 2.5, 5].map((n) => n * 10 ** power)).flat().filter(Number.isInteger);
const SECONDS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 432000,
  864000, 2592000, 8640000, 31536000];

export const AXES = {
  step: { incrs: WHOLE, values: (u, at) => at.map((step) => (Number.isInteger(step) ? short(step) : "")),
    read: (x) => `step ${Math.round(x).toLocaleString("en-US")}` },
  wall: { time: true, values: clocks, read: (x) => `${new Date(x * 1000).toISOString().slice(0, 19).replace("T", " ")} UTC` },
  relative: { incrs: SECONDS, values: (u, at) => at.map(spoken), read: (x) => spoken(Math.round(x)) },
  number: { values: (u, at) => alike(at), read: (x) => `${x.toPrecision(4)}` },
};

const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");

// UTC: 14:05, with seconds where they tell neighbours apart; the day at midnight.
function clocks(u, at) {
  const apart = at.length > 1 ? at[1] - at[0] : 86400;
  return at.map((second) => {
    const date = new Date(second * 1000);
    if (Number.isNaN(date.getTime())) return "";
    const [day, clock] = date.toISOString().split("T");
    if (apart >= 86400 * 300) return day.slice(0, -6);
    if (apart >= 86400 || clock.startsWith("00:00:00")) return `${MONTHS[date.getUTCMonth()]} ${date.getUTCDate()}`;
    return clock.slice(0, apart < 1 ? 12 : apart < 60 ? 8 : 5);
  });
}

function spoken(seconds) {
  if (seconds === 0) return "0";
  const said = duration(Math.abs(seconds)).replace(/ 00 .$/, "");
  return seconds < 0 ? `-${said}` : said;
}

// 800, 12k, 1.5M
export function short(value) {
  const [size, letter] = [[1e9, "G"], [1e6, "M"], [1e3, "k"]].find(([least]) => Math.abs(value) >= least) || [1, ""];
  return `${Number((value / size).toPrecision(6))}${letter}`;
}

// All written alike, with as many digits as tell them apart.
export function alike(values) {
  const known = values.filter((value) => value !== null);
  if (!known.length) return values.map(() => "");
  const unit = known.length > 1 ? Math.abs(known[1] - known[0]) : Math.abs(known[0]);
  const largest = Math.max(...known.map(Math.abs));
  if (!unit || !Number.isFinite(unit)) return values.map((value) => (value === null ? "" : value.toPrecision(3)));
  let digits = -Math.floor(Math.log10(unit) + 1e-9);
  if (Math.abs(unit * 10 ** digits - Math.round(unit * 10 ** digits)) > 1e-6) digits += 1; // steps of 2.5
  const plain = largest >= 1e-3 && largest < 1e6;
  if (!plain) digits = Math.min(12, Math.max(0, Math.floor(Math.log10(largest)) + digits));
  return values.map((value) => {
    if (value === null) return "";
    if (Math.abs(value) < unit / 1000) return "0";
    return plain ? value.toFixed(Math.min(20, Math.max(0, digits))) : value.toExponential(digits);
  });
}

// Powers of ten, and between them 2 and 5 where there are few.
export function logarithmic(values, low, high) {
  const decades = Math.log10(high) - Math.log10(low);
  const every = Math.ceil(decades / 6);
  return values.map((value) => {
    const power = Math.log10(value);
    const whole = Math.abs(power - Math.round(power)) < 1e-9;
    if (whole) return Math.round(power) % every ? "" : tenth(value);
    const lead = Math.round(value / 10 ** Math.floor(power));
    return decades < 2 && (lead === 2 || lead === 5) ? tenth(value) : decades < 0.5 ? tenth(value) : "";
  });
}

function tenth(value) {
  return value >= 1e-3 && value < 1e6 ? String(Number(value.toPrecision(3))) : value.toExponential().replace("e+", "e");
}
