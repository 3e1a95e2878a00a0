// A box that ticks all boxes of one name on the page, and Shift for those between two: they may be made anew meanwhile.
//
//   <input type="checkbox" data-ticks="tomb">

const all = document.querySelector("[data-ticks]");
const boxes = () => [...document.querySelectorAll(`[type=checkbox][name="${all.dataset.ticks}"]`)];
let last = null;

function look() {
  const ticked = boxes().filter((box) => box.checked).length;
  all.checked = ticked > 0 && ticked === boxes().length;
  all.indeterminate = ticked > 0 && !all.checked;
}

if (all) {
  all.closest("label").hidden = false;
  document.addEventListener("click", ({ target, shiftKey }) => {
    if (target === all) for (const box of boxes()) box.checked = all.checked;
    else if (target.name !== all.dataset.ticks) return;
    const some = boxes();
    const [from, to] = [some.indexOf(last), some.indexOf(target)].sort((a, b) => a - b);
    if (shiftKey && from >= 0) for (const box of some.slice(from, to)) box.checked = target.checked;
    if (target !== all) last = target;
    look();
  });
  addEventListener("pageshow", look);
}
