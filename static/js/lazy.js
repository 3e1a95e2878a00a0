// What is in view is made, what is far off is given up: a page of hundreds of charts holds a dozen.

// On paper nothing comes near: before printing all the others are made too, and given up after it.
//
// show(elements): those that came near the view, a batch for each look; hide(element): it is far off.
// Answers the function that stops watching.
export function whileNear(elements, show, hide, { near = "300px", far = "1000px" } = {}) {
  let [waiting, printed] = [[], []];
  const seen = new Set();
  const close = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting && !seen.has(target)) {
        seen.add(target);
        waiting.push(target);
      }
    }
    if (waiting.length) requestAnimationFrame(flush);
  }, { rootMargin: `${near} 0px` });
  const away = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting && seen.delete(target)) hide(target);
    }
  }, { rootMargin: `${far} 0px` });

  function flush() {
    const batch = waiting.filter((element) => seen.has(element));
    waiting = [];
    if (batch.length) show(batch);
  }

  function beforePrint() {
    printed = [...elements].filter((element) => !seen.has(element));
    if (printed.length) show(printed);
  }

  function afterPrint() {
    printed.filter((element) => !seen.has(element)).forEach(hide);
    printed = [];
  }

  for (const element of elements) [close, away].forEach((watch) => watch.observe(element));
  addEventListener("beforeprint", beforePrint);
  addEventListener("afterprint", afterPrint);
  return () => {
    [close, away].forEach((watch) => watch.disconnect());
    removeEventListener("beforeprint", beforePrint);
    removeEventListener("afterprint", afterPrint);
  };
}
