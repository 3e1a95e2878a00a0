// The figures of a metric's card (templates/_chart.html): last, lowest and highest value, points, as a frame brings them.

import { flash } from "./morph.js";
import { count, number } from "./numbers.js";

// cards; series: tag -> [last, min, max, points, how many not finite] (streaming/runpage.py).
export function tellAll(cards, series) {
  for (const card of cards) {
    if (Object.hasOwn(series, card.dataset.tag)) figures(card, series[card.dataset.tag]);
  }
}

// JSON has no NaN: such values come as words.
const value = (said) => (typeof said === "string" ? Number(said) : said);

// Writes what has changed, and lets it be seen.
export function write(place, text, title = "") {
  if (!place || place.textContent === text) return;
  place.textContent = text;
  place.title = title;
  flash(place);
}

function figures(card, [last, min, max, points, odd]) {
  const at = (name) => card.querySelector(`[data-figure="${name}"]`);
  const shown = at("last");
  // under the cursor stands the value there; the last one comes back when it leaves
  if (shown?.classList.contains("reading")) shown.dataset.last = number(value(last));
  else if (shown) {
    delete shown.dataset.last;
    write(shown, number(value(last)), String(value(last)));
  }
  write(at("min"), number(value(min)), String(value(min)));
  write(at("max"), number(value(max)), String(value(max)));
  write(at("count"), count(points));
  if (at("count")?.nextSibling) at("count").nextSibling.data = points === 1 ? " point" : " points";
  write(at("odd"), count(odd));
  if (at("odd")) at("odd").parentElement.hidden = !odd;
}
