// Parts of a page that the server makes for one user (counts, files, which runs are listed): data-afresh asks for the
// page anew when something of it may have changed, and makes them like it in place.  The id names the part.
//
//   <section id="counts" data-afresh>          with every change of the page's things
//   <section id="files" data-afresh="version"> the same; on a run's page that is with each of its changes

import { getText } from "./fetching.js";
import { changed, follow, live } from "./live.js";
import { morph } from "./morph.js";
import { seldom } from "./waiting.js";

const PAUSE = 4000;
const parts = () => [...document.querySelectorAll("[data-afresh][id]")];

const ask = seldom(async () => {
  if (document.hidden || !parts().length) return;
  const text = await getText(location.href).catch(() => null);
  const page = text && new DOMParser().parseFromString(text, "text/html");
  if (!page) return;
  for (const part of parts()) {
    const made = page.getElementById(part.id);
    if (made) morph(part, document.adoptNode(made));
  }
  changed();
}, PAUSE);

if (parts().length) {
  follow({ lists: true });
  for (const name of ["sources", "gone", "fragment", "keepalive", "open"]) live.addEventListener(name, ask);
  document.addEventListener("visibilitychange", ask);
}
