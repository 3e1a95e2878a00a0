// A live list: rows change in place, but which runs it holds and their order only when somebody asks for that.

import { getJSON, getText } from "./fetching.js";
import { changed, follow, live } from "./live.js";
import { morph } from "./morph.js";
import { seldom } from "./waiting.js";

const list = document.querySelector(".listing[data-order]");
const button = document.getElementById("moved");
//: Milliseconds between two looks at the order; after a mere change of a row it can wait.
const [LOOK, PATIENCE] = [2000, 8000];

const body = () => document.querySelector(".runs tbody");
const shown = () => [...(body()?.children || [])].map((row) => Number(row.id.slice(4)));

// How many of the rows are new, and how few must move so that the others are in order.
export function difference(before, after) {
  const place = new Map(before.map((id, at) => [id, at]));
  const kept = after.filter((id) => place.has(id)).map((id) => place.get(id));
  const ends = []; // ends[n]: the lowest end of a rising row of n + 1 places
  for (const one of kept) {
    let [low, high] = [0, ends.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (ends[middle] < one) low = middle + 1;
      else high = middle;
    }
    ends[low] = one;
  }
  return { fresh: after.length - kept.length, moved: kept.length - ends.length, gone: before.length - kept.length };
}

async function look() {
  if (document.hidden) return;
  const answer = await getJSON(list.dataset.order).catch(() => null);
  if (answer) say(difference(shown(), answer.ids));
}

function say({ fresh, moved, gone }) {
  // of a full page as many leave as come
  const left = Math.max(0, gone - fresh);
  const parts = [[fresh, "new"], [moved, "moved"], [left, "gone"]].filter(([count]) => count);
  button.hidden = !parts.length;
  const text = parts.map(([count, word]) => `${count} ${word}`).join(", ");
  if (button.textContent !== text) button.textContent = text;
}

// The page as it is now: rows that stay keep what is chosen, their focus and their place on the screen's edge.
async function take(refresh) {
  const text = await getText(location.href).catch(() => null);
  if (text === null) return;
  const page = new DOMParser().parseFromString(text, "text/html");
  const made = page.querySelector(".runs tbody");
  if (!made || !body()) {
    location.reload();
    return;
  }
  morph(body(), document.adoptNode(made));
  const [turn, next] = [document.querySelector(".foot .turn"), page.querySelector(".foot .turn")];
  if (turn && next) morph(turn, document.adoptNode(next));
  button.hidden = true;
  refresh();
  changed();
}

export function followOrder(refresh) {
  if (!list || !button) return;
  const [soon, sometime] = [seldom(look, LOOK), seldom(look, PATIENCE)];
  follow({ lists: true });
  live.addEventListener("sources", soon);
  live.addEventListener("gone", soon);
  live.addEventListener("fragment", sometime);
  live.addEventListener("again", sometime);
  button.addEventListener("click", () => take(refresh));
}
