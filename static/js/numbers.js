// How values are written: the same rules as runs/templatetags/shown.py.

export function number(value) {
  if (value === null || value === undefined) return "–";
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "Inf" : "-Inf";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-4 || size >= 1e6) {
    const [digits, power] = value.toExponential(3).split("e");
    return `${digits}e${power[0]}${power.slice(1).padStart(2, "0")}`;
  }
  const decimals = Math.max(0, 3 - Math.floor(Math.log10(size)));
  return value.toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
}

export function count(value) {
  return value === null || value === undefined ? "–" : value.toLocaleString("en-US");
}

const UNITS = [["d", 86400], ["h", 3600], ["m", 60]];

// Seconds in at most two units: 12 s, 9 m 12 s, 1 h 04 m, 3 d 4 h, 7 d.
export function duration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds) || seconds < 0) return "–";
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const at = UNITS.findIndex(([, length]) => seconds >= length);
  const [unit, length] = UNITS[at];
  const [lower, part] = UNITS[at + 1] || ["s", 1];
  const rest = Math.floor((seconds % length) / part);
  const whole = `${Math.floor(seconds / length)} ${unit}`;
  if (unit === "d") return rest ? `${whole} ${rest} h` : whole;
  return `${whole} ${String(rest).padStart(2, "0")} ${lower}`;
}
