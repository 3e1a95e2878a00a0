// Parts of a page that the server makes for one user (counts, files, which runs are listed): those under data-afresh
// are asked for anew when they may have changed, and made like that in place.  The id names the part.
//
//   <section id="counts" data-afresh>         when runs came or went, when the status of one that is shown turned, each minute
//   <section id="files" data-afresh="each">   with each change of what the page shows, too

import { getText } from "./fetching.js";
import { changed, follow, live, stateNow } from "./live.js";
import { morph } from "./morph.js";
import { seldom } from "./waiting.js";

const [PAUSE, MINUTE] = [4000, 60_000];
const parts = () => [...document.querySelectorAll("[data-afresh][id]")];

const ask = seldom(async () => {
  if (document.hidden) return;
  const text = await getText(location.href).catch(() => null);
  const page = text && new DOMParser().parseFromString(text, "text/html");
  for (const part of page ? parts() : []) {
    const made = page.getElementById(part.id);
    if (made) morph(part, document.adoptNode(made));
  }
  changed();
}, PAUSE);

if (parts().length) {
  follow({ lists: true });
  const each = parts().some((part) => part.dataset.afresh === "each");
  live.addEventListener("sources", ask);
  live.addEventListener("gone", ask);
  live.addEventListener("fragment", ({ detail }) => (each || detail.turned) && ask());
  live.addEventListener("again", ask);
  setInterval(() => stateNow().name === "live" && ask(), MINUTE);
}
