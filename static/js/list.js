// The run list: keys, chosen runs, menus, columns that move, totals that come when the page stands.

import { getJSON, getText } from "./fetching.js";
import { followOrder } from "./moved.js";
import { Selection } from "./selection.js";
import { keysOfPage, typing } from "./site.js";
import { followTotals } from "./totals.js";

const list = document.querySelector(".listing");
const body = document.querySelector(".runs tbody");
let [rows, boxes] = [[], []];
const all = document.querySelector("[data-choose-all]");
const bar = document.getElementById("selection");

// ── chosen runs ──

const selection = new Selection(show);

function show({ ids, size }) {
  boxes.forEach((box, at) => {
    box.checked = selection.has(box.value);
    rows[at].classList.toggle("chosen", box.checked);
  });
  const here = boxes.filter((box) => box.checked).length;
  if (all) {
    all.checked = here > 0 && here === boxes.length;
    all.indeterminate = here > 0 && here < boxes.length;
  }
  if (!bar) return;
  bar.hidden = size === 0;
  bar.querySelector("[data-count]").textContent = here < size ? `${size} chosen, ${here} here` : `${size} chosen`;
  for (const link of bar.querySelectorAll("[data-to]")) {
    const to = new URL(link.dataset.to, location.href);
    for (const id of ids) to.searchParams.append("run", id);
    link.href = to;
  }
  for (const place of bar.querySelectorAll("[data-runs]")) {
    place.replaceChildren(...ids.map((id) => Object.assign(document.createElement("input"), { type: "hidden", name: "run", value: id })));
  }
}

function choose(chosen, on) {
  const room = selection.set(chosen.map((box) => box.value), on);
  if (bar) bar.querySelector("[data-full]").hidden = room;
}

let last = null;
body?.addEventListener("click", (event) => {
  const place = boxes.indexOf(event.target);
  if (place < 0) return;
  const other = event.shiftKey ? boxes.indexOf(last) : -1;
  const [from, to] = other >= 0 ? [Math.min(other, place), Math.max(other, place)] : [place, place];
  choose(boxes.slice(from, to + 1), event.target.checked);
  last = event.target;
});
if (all) {
  all.hidden = false;
  all.addEventListener("change", () => choose(boxes, all.checked));
}
bar?.querySelector("[data-clear]").addEventListener("click", () => selection.clear());

// ── keys ──

let at = -1;

function move(by) {
  if (!rows.length) return;
  rows[at]?.classList.remove("at");
  at = Math.min(rows.length - 1, Math.max(0, at + by));
  rows[at].classList.add("at");
  const link = rows[at].querySelector(".c-name a");
  link.focus({ preventScroll: true });
  rows[at].scrollIntoView({ block: "nearest" });
}

body?.addEventListener("focusin", (event) => {
  rows[at]?.classList.remove("at");
  at = rows.indexOf(event.target.closest("tr"));
  rows[at]?.classList.add("at");
});

const KEYS = {
  j: () => move(1),
  k: () => move(-1),
  x: () => at >= 0 && choose([boxes[at]], !boxes[at].checked),
  c: () => selection.size && bar?.querySelector("[data-compare]")?.click(),
  "[": () => document.querySelector(".turn a[rel=prev]")?.click(),
  "]": () => document.querySelector(".turn a[rel=next]")?.click(),
};
keysOfPage([
  ["j", "next run"], ["k", "previous run"], ["x", "choose the run"], ["Enter", "open the run"],
  ["c", "compare the chosen runs"], ["[", "previous page"], ["]", "next page"],
]);
document.addEventListener("keydown", (event) => {
  if (typing(event) || !Object.hasOwn(KEYS, event.key) || document.querySelector("dialog[open]")) return;
  event.preventDefault();
  KEYS[event.key]();
});

// ── menus: one open at a time, closed by Escape and by a click elsewhere ──

const menus = () => document.querySelectorAll("details.drop[open]");
document.addEventListener("click", (event) => {
  for (const menu of menus()) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of menus()) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

// What a menu asks with is fetched when a hand comes near it: most lists are only read.
function fetched(menu, link) {
  const panel = link.parentElement;
  getText(link.href)
    .then((page) => new DOMParser().parseFromString(page, "text/html").querySelector(`${link.hash} .panel-part`))
    .then((form) => form && panel.replaceChildren(document.adoptNode(form)))
    .catch(() => {}); // the link stays, and the banner tells
}

for (const menu of document.querySelectorAll("details.drop:has(.later)")) {
  const link = menu.querySelector(".later");
  const near = ["pointerenter", "focusin", "toggle"];
  const fetchOnce = () => {
    for (const event of near) menu.removeEventListener(event, fetchOnce);
    fetched(menu, link);
  };
  for (const event of near) menu.addEventListener(event, fetchOnce);
}

// ── forms: an address without what was left empty ──

document.addEventListener("formdata", (event) => {
  if (!event.target.matches("form[data-tidy]")) return;
  for (const name of new Set(event.formData.keys())) {
    const said = event.formData.getAll(name).filter((value) => String(value).trim());
    event.formData.delete(name);
    for (const value of said) event.formData.append(name, value);
  }
});

// A column's arrows move it in place; without scripts they are links that do the same.
list?.addEventListener("click", (event) => {
  const arrow = event.target.closest("[data-move]");
  if (!arrow) return;
  event.preventDefault();
  const item = arrow.closest("li");
  const beside = arrow.dataset.move === "up" ? item.previousElementSibling : item.nextElementSibling;
  if (!beside) return;
  if (arrow.dataset.move === "up") beside.before(item);
  else beside.after(item);
  arrow.focus();
});

// ── suggestions: asked for when a field that takes them is first entered ──

async function suggest() {
  const known = await getJSON(list.dataset.known).catch(() => ({}));
  for (const [field, names] of Object.entries(known)) {
    for (const place of document.querySelectorAll(`datalist[data-known="${field}"]`)) {
      place.replaceChildren(...names.map((name) => Object.assign(document.createElement("option"), { value: name })));
    }
  }
}

list?.addEventListener("focusin", function suggestOnce(event) {
  if (!event.target.matches("input[list]")) return;
  list.removeEventListener("focusin", suggestOnce);
  suggest();
});

// The rows as they stand; after others have come or moved, the one that was at hand still is.
function refresh() {
  rows = [...(body?.children || [])];
  boxes = rows.map((row) => row.querySelector(".c-pick input"));
  at = rows.findIndex((row) => row.classList.contains("at"));
  show(selection);
}

refresh();
followOrder(refresh);
followTotals();
