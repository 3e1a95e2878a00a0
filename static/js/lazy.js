// What is in view is made, what is far off is given up: a page of hundreds of charts holds a dozen.

// show(elements): those that came near the view, a batch for each look; hide(element): it is far off.
// Answers the function that stops watching.
export function whileNear(elements, show, hide, { near = "300px", far = "1000px" } = {}) {
  let waiting = [];
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

  for (const element of elements) [close, away].forEach((watch) => watch.observe(element));
  return () => [close, away].forEach((watch) => watch.disconnect());
}
