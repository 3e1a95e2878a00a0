// On every page: `/` goes to the search, `?` lists the keys that the page knows; the user's menu.

export function typing(event) {
  const at = event.target;
  return event.ctrlKey || event.metaKey || event.altKey
    || (at instanceof HTMLElement && (at.isContentEditable || at.matches("textarea, select, input:not([type=checkbox], [type=radio])")));
}

const KEYS = [["/", "search"], ["?", "all keys of this page"], ["g h", "home"], ["g r", "runs"], ["g j", "jobs"]];

// Pages add theirs: keysOfPage([["j", "next run"]]).
export function keysOfPage(more) {
  KEYS.push(...more);
}

let after = "";
document.addEventListener("keydown", (event) => {
  if (typing(event)) return;
  const pressed = after + event.key;
  after = event.key === "g" ? "g " : "";
  if (pressed === "g h") location.assign(document.body.dataset.home);
  else if (pressed === "g r") location.assign(document.body.dataset.runs);
  else if (pressed === "g j") location.assign(document.body.dataset.jobs);
  else if (event.key === "/") {
    const field = document.querySelector("[data-search]");
    if (!field) return;
    event.preventDefault();
    field.focus();
    field.select();
  } else if (event.key === "?") showKeys();
});

function showKeys() {
  const dialog = document.getElementById("keys");
  if (!dialog) return;
  const list = dialog.querySelector("dl");
  list.replaceChildren(...KEYS.map(([key, what]) => {
    const row = document.createElement("div");
    const [term, said] = [document.createElement("dt"), document.createElement("dd")];
    term.append(...key.split(" ").map((part) => Object.assign(document.createElement("kbd"), { textContent: part })));
    said.textContent = what;
    row.append(term, said);
    return row;
  }));
  dialog.showModal();
}

// The user's menu closes as a menu does: on Escape, and where one clicks elsewhere.
const menu = document.querySelector("details.menu");
document.addEventListener("click", (event) => { if (menu && !menu.contains(event.target)) menu.open = false; });
menu?.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || !menu.open) return;
  menu.open = false;
  menu.querySelector("summary").focus();
});
