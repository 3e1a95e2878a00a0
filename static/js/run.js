// The page of a run: searching its parameters, copying them, looking at images.

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

const light = document.getElementById("light");
const images = [...document.querySelectorAll("a[data-light]")];
const totals = new Map();  // a record may hold several images: how many, by address
let shown = 0;
let within = 0;  // -1: the last, however many there are
let asked = 0;

async function show(place, number) {
  const mine = ++asked;
  shown = (place + images.length) % images.length;
  within = number;
  const url = images[shown].href;
  if (!totals.has(url)) {
    const answer = await fetch(url, { method: "HEAD", credentials: "same-origin" }).catch(() => null);
    totals.set(url, Number(answer?.headers.get("X-Sample-Total")) || 1);
  }
  if (mine !== asked) return;  // another has been asked for meanwhile
  const total = totals.get(url);
  if (within < 0) within = total - 1;
  const [picture, caption] = [light.querySelector("img"), light.querySelector("figcaption")];
  picture.alt = images[shown].querySelector("img").alt;
  picture.src = light.querySelector("a").href = within ? `${url}?n=${within}` : url;
  caption.textContent = total > 1 ? `${picture.alt}, image ${within + 1} of ${total}` : picture.alt;
  if (!light.open) light.showModal();
}

function turn(by) {
  const next = within + by;
  if (within >= 0 && next >= 0 && next < (totals.get(images[shown].href) || 1)) show(shown, next);
  else show(shown + by, by < 0 ? -1 : 0);
}

images.forEach((link, place) => link.addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  show(place, 0);
}));
light?.addEventListener("click", (event) => {
  const by = Number(event.target.dataset.turn);
  if (by) turn(by);
  else if (event.target === light) light.close();
});
light?.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") turn(-1);
  else if (event.key === "ArrowRight") turn(1);
});
