// Choosing what to clean up, and confirming it: sums of what is ticked, and a button that waits for the right number.

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

function size(bytes) {
  const power = bytes < 1024 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), UNITS.length - 1);
  const short = bytes / 1024 ** power;
  return `${power && short < 100 ? short.toFixed(1) : short.toFixed(0)} ${UNITS[power]}`;
}

const boxes = [...document.querySelectorAll(".choosing [name=run]")];
const all = document.querySelector("[data-all]");

function sum() {
  const ticked = boxes.filter((box) => box.checked);
  const bytes = ticked.reduce((total, box) => total + Number(box.dataset.size), 0);
  all.checked = ticked.length > 0 && ticked.length === boxes.length;
  all.indeterminate = ticked.length > 0 && !all.checked;
  document.querySelector("[data-chosen]").textContent = ` · ${ticked.length} chosen, ${size(bytes)}`;
  document.querySelector(".deed button").disabled = !ticked.length;
}

if (all) {
  let last = -1;
  all.hidden = false;
  all.addEventListener("change", () => {
    for (const box of boxes) box.checked = all.checked;
    sum();
  });
  for (const [place, box] of boxes.entries()) {
    box.addEventListener("click", (event) => {
      const from = event.shiftKey && last >= 0 ? last : place;
      for (let at = Math.min(from, place); at <= Math.max(from, place); at++) boxes[at].checked = box.checked;
      last = place;
      sum();
    });
  }
  sum();
}

const sure = document.querySelector(".sure");
if (sure) {
  const [typed, button] = [sure.querySelector("[name=typed]"), sure.querySelector("button")];
  const look = () => { button.disabled = typed.value.replaceAll(",", "").trim() !== sure.dataset.count; };
  typed.addEventListener("input", look);
  sure.addEventListener("submit", () => setTimeout(() => { button.disabled = true; }));
  addEventListener("pageshow", look);
  look();
}

// a filter asks for nothing that nobody filled in
for (const form of document.querySelectorAll("form[data-tidy]")) {
  form.addEventListener("submit", () => {
    for (const field of form.elements) if (field.name && !field.value) field.disabled = true;
  });
}
