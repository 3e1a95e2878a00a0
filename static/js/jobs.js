// The list of jobs: its rows are kept as the server has them, "n new or moved" is told by the list's own order.

import "./afresh.js";
import { follow, live } from "./live.js";

const box = document.querySelector(".job-list");
const note = document.querySelector("[data-news]");

if (box && note) {
  follow({ lists: true });
  live.addEventListener("sources", () => { note.hidden = false; });
}
// a filter form asks for nothing that nobody filled in
for (const form of document.querySelectorAll("form[data-tidy]")) {
  form.addEventListener("submit", () => {
    for (const field of form.elements) if (field.name && !field.value) field.disabled = true;
  });
}
