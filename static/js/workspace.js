// The workspace: links and forms that change it are followed in place, charts that stay are kept.

import { keysOfPage, typing } from "./site.js";
import { Overlays } from "./overlays.js";
import { drawParallel } from "./parallel.js";
import { copyTable } from "./copying.js";

const NARROW = matchMedia("(max-width: 900px)");
const overlays = new Overlays();
let going = null;

const space = () => document.getElementById("workspace");

// What the server rendered comes to life; also after each swap.
function enliven() {
  if (NARROW.matches && !space().dataset.ready) space().querySelector(".fold").open = false;
  space().dataset.ready = "";
  overlays.enliven(document.getElementById("charts"));
  for (const box of document.querySelectorAll("[data-parallel]")) {
    const data = JSON.parse(document.getElementById(box.dataset.parallel).textContent);
    drawParallel(box, data, countRuns);
  }
}

function countRuns(kept, all, brushed, clear) {
  const told = document.querySelector("[data-count]");
  told.textContent = brushed ? `${kept} of ${all} runs.` : `${all} runs.`;
  const button = document.querySelector("[data-clear]");
  button.hidden = !brushed;
  button.onclick = clear;
}

// Follow an address of the workspace without leaving the page.
async function go(url, { push = true } = {}) {
  const target = overlays.carried(new URL(url, location.href));
  going?.abort();
  going = new AbortController();
  const mine = going;
  space().setAttribute("aria-busy", "true");
  let answer;
  try {
    answer = await fetch(target, { credentials: "same-origin", signal: mine.signal, headers: { Accept: "text/html" } });
  } catch (error) {
    if (error.name !== "AbortError") location.assign(target);
    return;
  }
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const next = fresh.getElementById("workspace");
  // signed out, not found, a wrong question: the page itself says so
  if (mine.signal.aborted) return;
  if (!answer.ok || !next) return void location.assign(target);
  if (push) history.pushState(null, "", target);
  swap(next);
}

// The new content takes the place of the old; what had the focus, the fold and the scroll keep theirs.
function swap(next) {
  const old = space();
  const focused = document.activeElement?.closest?.("[data-eye], [name], .tabs a");
  const again = focused && selectorOf(focused);
  const [list, fold] = [old.querySelector(".listed").scrollTop, old.querySelector(".fold").open];
  const fresh = document.importNode(next, true);
  overlays.keep(old, fresh);
  fresh.dataset.ready = "";
  fresh.querySelector(".fold").open = fold;
  old.replaceWith(fresh);
  fresh.querySelector(".listed").scrollTop = list;
  enliven();
  if (again) fresh.querySelector(again)?.focus({ preventScroll: true });
}

function selectorOf(node) {
  if (node.dataset.eye) return `[data-eye="${CSS.escape(node.dataset.eye)}"]`;
  if (node.name) return `[name="${CSS.escape(node.name)}"]`;
  return ".tabs a[aria-current]";
}

document.addEventListener("click", (event) => {
  if (event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const link = event.target.closest("#workspace a.eye, #workspace a[data-swap]");
  if (link) {
    event.preventDefault();
    if (link.dataset.eye) overlays.toggled(Number(link.dataset.eye));
    go(link.href);
  }
  const copy = event.target.closest("[data-copy]");
  if (copy) copyTable(copy.closest("#table").querySelector("table"), copy.dataset.copy, copy.parentElement.querySelector("output"));
});

function submit(form) {
  const asked = new URLSearchParams(new FormData(form));
  for (const [name, value] of [...asked]) if (value === "") asked.delete(name, value);
  go(`?${asked}`);
}

document.addEventListener("submit", (event) => {
  const form = event.target.closest("#workspace form[data-swap]");
  if (!form) return;
  event.preventDefault();
  submit(form);
});

document.addEventListener("change", (event) => {
  const form = event.target.closest("#workspace form[data-swap]");
  if (form && event.target.name && event.target.type !== "search") submit(form);
});

addEventListener("popstate", () => go(location.href, { push: false }));

document.addEventListener("keydown", (event) => {
  if (typing(event) || !space()) return;
  const tab = space().querySelectorAll(".tabs a")[Number(event.key) - 1];
  if (tab) tab.click();
});

keysOfPage([["1 … 5", "the views of the workspace"]]);
enliven();
