// The totals below the run list: asked for when the page stands, and again when something that it shows has changed.

import { getText } from "./fetching.js";
import { live } from "./live.js";
import { morph } from "./morph.js";
import { seldom } from "./waiting.js";

//: Milliseconds between two times that they are asked for; where an answer takes long, so many times as long as it took.
const [PAUSE, TIMES] = [4000, 20];

export function followTotals() {
  let place = document.querySelector("[data-totals]");
  if (!place) return;
  const address = place.dataset.totals;
  let missed = false;

  async function look() {
    missed = document.hidden;
    if (missed) return;
    const begun = performance.now();
    const text = await getText(address).catch(() => null); // what stands there stays, and the banner tells
    const made = text && new DOMParser().parseFromString(text, "text/html").querySelector(".sums");
    if (made && place.matches(".sums")) morph(place, document.adoptNode(made));
    else if (made) place.replaceWith(place = document.adoptNode(made));
    const took = performance.now() - begun;
    await new Promise((done) => setTimeout(done, took * TIMES));
  }

  const ask = seldom(look, PAUSE);
  for (const name of ["fragment", "sources", "gone", "again"]) live.addEventListener(name, ask);
  document.addEventListener("visibilitychange", () => missed && ask());
  ask();
}
