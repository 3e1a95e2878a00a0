// A series on the page and the points that came since: appended, never loaded again while they join.
//
// place: [file, generation, part, next, count]: up to where the page has the points (runs/newer.py).

//: Points that a line may grow by before it is asked for anew, thinned.
const MOST = 600;

// The series with these points at its end; null where they do not join and it must be loaded anew.
// Points that it has already are left out: a frame may cross an answer on its way.
export function grown(series, more) {
  const [valid, added] = [series.lines.filter((one) => !one.old), more.line];
  if (!series.place || valid.length !== 1 || series.writers.length > 1) return null;
  const [mine, theirs] = [series.place, more.place];
  if ([0, 1, 2].some((at) => mine[at] !== theirs[at])) return null;
  const had = mine[3] - (theirs[3] - added.step.length);
  if (had < 0) return null;
  if (had >= added.step.length) return series;
  const before = valid[0];
  const count = (before.grown || 0) + added.step.length - had;
  if (count > MOST) return null;
  const made = lengthened(before, added, had);
  if (!made) return null;
  made.grown = count;
  const lines = series.lines.map((one) => (one === before ? made : one));
  return { ...series, lines, place: theirs, count: more.count };
}

function lengthened(line, added, from) {
  const kept = [];
  const marks = { kind: [...line.marks.kind], step: [...line.marks.step], wall: [...line.marks.wall], count: [...line.marks.count] };
  const breaks = [...line.breaks];
  let gap = false;
  let last = line.step.length ? line.step[line.step.length - 1] : -Infinity;
  for (let at = from; at < added.step.length; at += 1) {
    const [step, value] = [added.step[at], added.value[at]];
    if (!Number.isFinite(value)) {
      marks.kind.push(Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf");
      marks.step.push(step);
      marks.wall.push(added.wall[at]);
      marks.count.push(1);
      gap = true;
      if (!line.mean) kept.push(at); // as the server has it: what is thinned is without them
      continue;
    }
    if (step < last) return null;
    last = step;
    if (gap) breaks.push(line.step.length + kept.length);
    gap = false;
    kept.push(at);
  }
  const column = (had, more) => {
    const whole = new Float64Array(had.length + kept.length);
    whole.set(had);
    kept.forEach((at, place) => { whole[had.length + place] = more[at]; });
    return whole;
  };
  const made = { ...line, marks, breaks, step: column(line.step, added.step), wall: column(line.wall, added.wall), value: column(line.value, added.value) };
  if (line.mean) made.mean = column(line.mean, added.value);
  return made;
}
