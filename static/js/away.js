// The page of a TensorBoard that does not answer yet: it is opened as soon as it does.

const box = document.querySelector("[data-away]");
const wait = Number(box.dataset.away) * 1000;

async function look() {
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
    if (answer.status !== 503) return location.reload();
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    // failed or stopped meanwhile: the page says other words
    if (page.querySelector("h1")?.textContent !== box.querySelector("h1").textContent) return location.reload();
  } catch {
    // the site itself does not answer: it is asked again
  }
  setTimeout(look, wait);
}

setTimeout(look, wait);
