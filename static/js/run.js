// The page of a run: searching its parameters, copying them, looking at images.

import "./light.js";

// On a narrow screen the row of tabs scrolls: to the one that is open.
document.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

// A search field that hides the rows that do not hold what is typed.
for (const field of document.querySelectorAll("[data-filter]")) {
  const rows = [...document.querySelectorAll(field.dataset.filter)];
  const words = rows.map((row) => row.textContent.toLowerCase());
  field.hidden = false;
  field.addEventListener("input", () => {
    const asked = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    rows.forEach((row, place) => { row.hidden = !asked.every((word) => words[place].includes(word)); });
  });
}

// navigator.clipboard exists only over HTTPS and on localhost.
for (const button of navigator.clipboard ? document.querySelectorAll("[data-copy]") : []) {
  const label = button.textContent;
  button.hidden = false;
  button.addEventListener("click", async () => {
    const said = JSON.stringify(JSON.parse(document.getElementById(button.dataset.copy).textContent), null, 2);
    const copied = await navigator.clipboard.writeText(said).then(() => true, () => false);
    button.textContent = copied ? "Copied" : "The browser refused";
    setTimeout(() => { button.textContent = label; }, 2000);
  });
}
