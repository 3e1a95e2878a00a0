// Which colour and dash a run is drawn in: the same rule as runs/colours.py, which explains it.

export const COLOURS = 10;
export const DASHES = [[], [6, 3], [2, 3], [8, 3, 2, 3], [12, 4], [8, 3, 2, 3, 2, 3]];

// Map of run id -> {colour, dash} for the runs that are shown together.
export function looks(runs) {
  const used = new Array(COLOURS).fill(0);
  const found = new Map();
  for (const run of [...new Set(runs)].sort((a, b) => a - b)) {
    let colour = run % COLOURS;
    for (let away = 0; away < COLOURS && used[colour] >= DASHES.length; away += 1) colour = (run + away + 1) % COLOURS;
    found.set(run, { colour, dash: used[colour] % DASHES.length });
    used[colour] += 1;
  }
  return found;
}

// The colour of a look as the theme has it now.
export function cssColour(look) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--w${look.colour}`).trim();
}
