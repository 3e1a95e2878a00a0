// How a TensorBoard stands, kept fresh while somebody looks.

import { getText } from "./fetching.js";
import { morph } from "./morph.js";

const EVERY = 5000;
const panel = document.querySelector("[data-fresh]");

async function look() {
  if (!document.hidden) {
    const text = await getText(panel.dataset.fresh).catch(() => "");
    const made = text && new DOMParser().parseFromString(text, "text/html").getElementById(panel.id);
    if (made) morph(panel, document.adoptNode(made));
  }
  setTimeout(look, EVERY);
}

if (panel) setTimeout(look, EVERY);
