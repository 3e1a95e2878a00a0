// The page of a job: copying its id.  What moves is kept by live.js.

import "./afresh.js";

document.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

// navigator.clipboard exists only over HTTPS and on localhost.
if (navigator.clipboard) {
  for (const button of document.querySelectorAll("[data-copy-text]")) button.hidden = false;
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-copy-text]");
    if (!button) return;
    const copied = await navigator.clipboard.writeText(button.dataset.copyText).then(() => true, () => false);
    button.textContent = copied ? "copied" : "the browser refused";
    setTimeout(() => { button.textContent = "copy id"; }, 2000);
  });
}
