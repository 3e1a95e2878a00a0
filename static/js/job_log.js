// The viewer of a log: a window on all lines that fit, however many.  Lines come in blocks from the API when they are
// scrolled into view, and leave the page when they are far from it; new ones come through the page's socket.
//
// Heights of blocks are estimated until they were drawn, and then known: wrapped lines and unfolded stacks may be
// as high as they like.

import { getJSON } from "./fetching.js";
import { follow as ask, live } from "./live.js";

const BLOCK = 200;
const LINE = 20;
//: Beyond the window, this much is drawn; blocks kept in memory; pixels that browsers can scroll through (in lines).
const MARGIN = 1000;
const KEPT = 60;
const MOST = 1_500_000;

const log = document.querySelector("[data-log]");
const box = log?.querySelector(".log-box");
if (box) start();

function start() {
  const asked = log.dataset;
  const filters = Object.fromEntries(["level", "event", "search", "stream"].filter((name) => asked[name]).map((name) => [name, asked[name]]));
  const filtered = Boolean(filters.level || filters.event || filters.search);
  const said = log.querySelector(".log-said");
  const [above, , below] = box.children;
  const [following, wrapping] = [log.querySelector("[data-follow]"), log.querySelector("[data-wrap]")];
  let total = Number(asked.total);
  let raw = Number(asked.lines);  // of the log itself, filtered or not
  let ready = false;
  let heights = [];
  let aimed = Number(asked.line) || 0;
  const blocks = new Map();  // number -> {lines, element, loading}

  const count = () => Math.ceil(total / BLOCK);
  const length = (number) => Math.min(BLOCK, total - number * BLOCK);
  const height = (number) => heights[number] ?? length(number) * LINE;
  // a log that is longer than browsers can scroll through begins later
  const lowest = () => Math.max(0, Math.ceil((total - MOST) / BLOCK));

  function draw() {
    if (!ready) return;
    const [top, bottom] = [box.scrollTop - MARGIN, box.scrollTop + box.clientHeight + MARGIN];
    let [y, first, last, before] = [0, -1, -1, 0];
    for (let number = lowest(); number < count(); number += 1) {
      const high = height(number);
      if (y + high > top && first < 0) [first, before] = [number, y];
      if (y < bottom) last = number;
      y += high;
    }
    if (first < 0) return;
    let drawn = before;
    const shown = [];
    for (let number = first; number <= last; number += 1) {
      shown.push(element(number));
      drawn += height(number);
    }
    replace(shown);
    above.style.height = `${before}px`;
    below.style.height = `${Math.max(0, y - drawn)}px`;
    measure(first, last, before);
    forget(first, last);
  }

  function replace(shown) {
    const wanted = new Set(shown);
    for (const child of [...box.children]) if (child !== above && child !== below && !wanted.has(child)) child.remove();
    let at = above;
    for (const one of shown) {
      if (at.nextElementSibling !== one) at.after(one);
      at = one;
    }
  }

  // What turned out higher or lower than was thought, above the window, must not move what is read.
  function measure(first, last, before) {
    let [y, moved] = [before, 0];
    for (let number = first; number <= last; number += 1) {
      const block = blocks.get(number);
      if (!block?.lines) { y += height(number); continue; }
      const [known, real] = [height(number), block.element.offsetHeight];
      if (real !== known) {
        heights[number] = real;
        if (y + known <= box.scrollTop) moved += real - known;
      }
      y += real;
    }
    if (moved && !following.checked) box.scrollTop += moved;
  }

  function element(number) {
    let block = blocks.get(number);
    if (!block) blocks.set(number, block = { element: blank(), lines: null, loading: null });
    if (!block.lines && !block.loading) block.loading = load(number, block);
    if (!block.lines) block.element.style.height = `${height(number)}px`;
    return block.element;
  }

  const blank = () => Object.assign(document.createElement("div"), { className: "log-block waiting" });

  async function load(number, block) {
    try {
      const found = await page({ offset: number * BLOCK, limit: BLOCK });
      if (blocks.get(number) !== block) return;
      fill(block, found.entries);
      // with a search the whole number is known only when all was searched
      if (found.total_lines > total) resize(found.total_lines, found.complete);
      later();
    } catch (error) {
      if (error.status !== undefined && error.status < 500) said.textContent = error.message;
      setTimeout(() => { block.loading = null; later(); }, 3000);
    }
  }

  const page = (query) => getJSON(`${asked.log}?${new URLSearchParams({ ...filters, ...query })}`);

  function fill(block, lines) {
    block.lines = lines;
    block.loading = null;
    block.element.style.height = "";
    block.element.className = "log-block";
    block.element.replaceChildren(...lines.map(drawn));
  }

  function forget(first, last) {
    if (blocks.size <= KEPT) return;
    for (const number of [...blocks.keys()]) if (number < first - 5 || number > last + 5) blocks.delete(number);
  }

  function resize(now, complete = true) {
    heights.length = Math.min(heights.length, Math.floor(total / BLOCK));  // the last block grows
    total = now;
    tell(complete);
  }

  function tell(complete = true) {
    const what = filtered ? (total === 1 ? "line fits" : "lines fit") : total === 1 ? "line" : "lines";
    const cut = lowest() * BLOCK;
    said.textContent = `${total.toLocaleString("en")}${complete ? "" : " or more"} ${what}`
      + (cut ? `; the first ${cut.toLocaleString("en")} are in the download` : "");
  }

  // ---- a line, as templates/_log_line.html has it

  function drawn(line) {
    const row = make("div", `line ${line.level.toLowerCase()}${line.line === aimed ? " target" : ""}`);
    row.id = `L${line.line}`;
    const number = make("a", "ln", line.line);
    number.href = `?${filters.stream ? `stream=${filters.stream}&` : ""}line=${line.line}#L${line.line}`;
    const at = make("time", "", line.timestamp ? line.timestamp.slice(11, 23) : "");
    if (line.timestamp) at.title = line.timestamp;
    row.append(number, at, make("b", "lv", line.level), make("span", "ev", line.event), message(line));
    return row;
  }

  function message(line) {
    const end = line.message.indexOf("\n");
    const [first, rest] = end < 0 ? [line.message, ""] : [line.message.slice(0, end), line.message.slice(end + 1)];
    const told = Object.entries(line.fields).map(([name, value]) => `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`);
    const more = [rest, ...told].filter(Boolean).join("\n");
    if (!more) return make("span", "msg", first);
    const folded = make("details", "msg");
    folded.append(make("summary", "", first), make("pre", "", more));
    folded.addEventListener("toggle", () => { heights = heights.slice(); later(); });
    return folded;
  }

  function make(name, classes, text) {
    const node = document.createElement(name);
    if (classes) node.className = classes;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  // ---- new lines

  function arrived({ job, stream, from, lines, again }) {
    if (job !== Number(asked.job) || String(stream ?? "") !== (filters.stream || "")) return;
    raw = from + lines.length;
    if (filtered) return void refresh();
    if (again || from !== total) {
      blocks.clear();
      heights = [];
      resize(raw);
    } else {
      resize(raw);
      lines.forEach((line, place) => append(from + place, line));
    }
    later();
    if (following.checked) toEnd();
  }

  // A line joins its block where that is on the page and holds all lines before it; else the block is asked for again.
  function append(place, line) {
    const number = Math.floor(place / BLOCK);
    let block = blocks.get(number);
    if (!block && place % BLOCK === 0) {
      blocks.set(number, block = { element: blank(), lines: [], loading: null });
      fill(block, []);
    }
    if (block?.lines?.length === place % BLOCK) {
      block.lines.push(line);
      block.element.append(drawn(line));
    } else blocks.delete(number);
  }

  let refreshing = 0;
  function refresh() {
    refreshing ||= setTimeout(async () => {
      refreshing = 0;
      const found = await page({ offset: total, limit: BLOCK }).catch(() => null);
      if (!found || found.total_lines <= total) return;
      const before = total;
      resize(found.total_lines, found.complete);
      found.entries.forEach((line, place) => append(before + place, line));
      later();
      if (following.checked) toEnd();
    }, 1000);
  }

  // ---- where the window stands

  let waiting = 0;
  const later = () => { waiting ||= requestAnimationFrame(() => { waiting = 0; draw(); if (following.checked) toEnd(); }); };
  let settling = 0;  // until then it is the window that moves lines, not the reader
  const anew = () => { heights = []; settling = performance.now() + 300; later(); };
  let placed = 0;  // where we scrolled to, or the reader did
  function toEnd() {
    box.scrollTop = box.scrollHeight;
    placed = box.scrollTop;
  }

  function aim(line) {
    box.scrollTop = heightTo(Math.floor((line - 1) / BLOCK)) + ((line - 1) % BLOCK) * LINE - 5 * LINE;
  }

  function heightTo(number) {
    let y = 0;
    for (let before = lowest(); before < number; before += 1) y += height(before);
    return y;
  }

  box.addEventListener("scroll", () => {
    if (performance.now() < settling) return;
    const end = box.scrollHeight - box.scrollTop - box.clientHeight < 2 * LINE;
    // what reads upwards is let read; what comes back to the end goes on with it
    if (!end && box.scrollTop < placed - LINE) following.checked = false;
    else if (end && box.scrollTop > placed + LINE) following.checked = true;
    placed = box.scrollTop;
    later();
  }, { passive: true });

  following.addEventListener("change", () => { if (following.checked) toEnd(); });
  wrapping.addEventListener("change", () => {
    remember(wrapping.checked);
    log.classList.toggle("wrapped", wrapping.checked);
    anew();
  });
  box.addEventListener("click", (event) => {
    const number = event.target.closest("a.ln");
    if (!number || filtered || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    box.querySelector(".target")?.classList.remove("target");
    aimed = Number(number.textContent);
    number.parentElement.classList.add("target");
    history.replaceState(null, "", number.href);
  });
  addEventListener("resize", () => { room(); anew(); });

  function room() {
    const top = box.getBoundingClientRect().top + scrollY;
    const rail = innerWidth <= 900 ? 56 : 0;  // lies at the bottom there
    log.style.setProperty("--above", `${Math.min(top, innerHeight * 0.6) + 16 + rail}px`);
  }

  function remember(wrap) {
    try { localStorage.setItem("log-wrap", wrap ? "1" : "0"); } catch { /* a private window */ }
  }
  function remembered() {
    try { return localStorage.getItem("log-wrap"); } catch { return null; }
  }

  // ---- the beginning: what the server drew stays until the first blocks are there

  async function begin() {
    wrapping.checked = (remembered() ?? (matchMedia("(max-width: 700px)").matches ? "1" : "0")) === "1";
    log.classList.toggle("wrapped", wrapping.checked);
    for (const label of log.querySelectorAll(".log-ways .tick")) label.hidden = false;
    const offset = asked.offset !== "" ? Number(asked.offset) : null;
    following.checked = !aimed && offset === null;
    const place = following.checked ? total - 1 : aimed && !filtered ? aimed - 1 : Math.min(offset ?? 0, total - 1);
    const number = Math.max(0, Math.floor(place / BLOCK));
    const wanted = [number - 1, number].filter((one) => one >= lowest() && one < count());
    await Promise.all(wanted.map((one) => { element(one); return blocks.get(one).loading; }));
    log.classList.add("reaching");
    room();
    tell();
    ready = true;
    replace([]);
    below.style.height = `${heightTo(count())}px`;
    if (following.checked) toEnd();
    else aim(place + 1);
    draw();
    if (following.checked) toEnd();
    if (aimed) scrollTo(0, 0);  // the browser went to the line that the server drew
    log.dataset.ready = "";
    live.addEventListener("tail", ({ detail }) => arrived(detail));
    ask({ tail: () => [{ job: Number(asked.job), line: raw, ...(filters.stream ? { stream: Number(filters.stream) } : {}) }] });
  }
  begin();
}
