// Work that is put off: once for many calls, and not more often than is of use.

// Calls work once, so many milliseconds after the first call of a burst.
export function later(work, wait) {
  let timer = 0;
  return () => {
    timer ||= setTimeout(() => {
      timer = 0;
      work();
    }, wait);
  };
}

// Calls work at once, and then again at most each so many milliseconds, always after the last call;
// never while it is still at work.
export function seldom(work, pause) {
  let [timer, running, again, last] = [0, false, false, -Infinity];
  async function run() {
    timer = 0;
    [running, again, last] = [true, false, performance.now()];
    try {
      await work();
    } finally {
      running = false;
      if (again) ask();
    }
  }
  function ask() {
    if (running) again = true;
    else timer ||= setTimeout(run, Math.max(0, last + pause - performance.now()));
  }
  return ask;
}
