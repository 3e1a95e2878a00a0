// "12 s ago" grows older while the page stands: the same rules as runs/templatetags/shown.py.

const RELATIVE = /^(now|in .+|.+ ago)$/;
const UNITS = [["d", 86400], ["h", 3600], ["m", 60]];
//: Milliseconds that the server's clock is ahead of this one.
let ahead = 0;

export function skew(server) {
  ahead = server * 1000 - Date.now();
}

export const serverNow = () => Date.now() + ahead;

export function relative(at, now) {
  const seconds = (now - at) / 1000;
  if (seconds < -60) return `in ${coarse(-seconds, 0.5)}`;
  return seconds < 1 ? "now" : `${coarse(seconds)} ago`;
}

function coarse(seconds, more = 0) {
  const [unit, length] = UNITS.find(([, long]) => seconds >= long) || ["s", 1];
  return `${Math.floor(seconds / length + more).toLocaleString("en-US")} ${unit}`;
}

function grow() {
  if (document.hidden) return;
  const now = serverNow();
  for (const time of document.querySelectorAll("time[datetime]")) {
    const at = Date.parse(time.dateTime);
    if (Number.isNaN(at) || !RELATIVE.test(time.textContent)) continue;
    const said = relative(at, now);
    if (said !== time.textContent) time.firstChild.data = said;
  }
}

setInterval(grow, 1000);
document.addEventListener("visibilitychange", grow);
