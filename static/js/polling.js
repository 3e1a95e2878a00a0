// What stands for work under way is asked for anew each second, as long as it says where: data-poll, on an element with an id.

import { getText } from "./fetching.js";
import { morph, parsed } from "./morph.js";

const PAUSE = 1000;

async function ask(part) {
  const text = document.hidden ? "" : await getText(part.dataset.poll).catch(() => "");
  const made = text && parsed(text.trim());
  if (made?.id === part.id) morph(part, made);
  if (part.dataset.poll) setTimeout(ask, PAUSE, part);
}

for (const part of document.querySelectorAll("[data-poll][id]")) setTimeout(ask, PAUSE, part);
