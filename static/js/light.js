// Images one after the other, large: the dialog of templates/_light.html, with the arrow keys.

const light = document.getElementById("light");
let images = [];  // those that were to be seen when the first of them was opened
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

if (light) document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[data-light]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  images = [...document.querySelectorAll("a[data-light]")].filter((one) => one.offsetParent);
  show(images.indexOf(link), 0);
});
light?.addEventListener("click", (event) => {
  const by = Number(event.target.dataset.turn);
  if (by) turn(by);
  else if (event.target === light) light.close();
});
light?.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") turn(-1);
  else if (event.key === "ArrowRight") turn(1);
});
