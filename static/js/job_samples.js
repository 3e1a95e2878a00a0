// The samples of a job: a slider through the steps, and each image large.

import "./afresh.js";
import "./light.js";

const tools = document.querySelector("[data-steps]");
const [slider, told] = tools ? [tools.querySelector("input"), tools.querySelector("output")] : [];

const figures = () => [...document.querySelectorAll(".gallery [data-step]")];
const steps = () => [...new Set(figures().map((one) => one.dataset.step))];

// At the left end all steps are shown, else one.
function show() {
  const known = steps();
  tools.hidden = known.length < 2;
  slider.max = known.length;
  const place = Number(slider.value);
  const step = known[place - 1];
  for (const one of figures()) one.hidden = place > 0 && one.dataset.step !== step;
  const said = place ? `step ${Number(step).toLocaleString("en")}, ${place} of ${known.length}` : `all ${known.length} steps`;
  told.textContent = said;
  slider.setAttribute("aria-valuetext", said);
}

if (tools) {
  slider.addEventListener("input", show);
  show();
  new MutationObserver(show).observe(document.querySelector(".gallery"), { childList: true });
}
