"""How long does a step take from an event file on disk to the screen of a browser?

    python -m benchmarks.live [--json] [--quick]

100 runs are written to at the same time, each a step a second; the clock of a step starts when its record
has been flushed.  The real follower, Valkey, daphne and headless Chromium bring it to two pages: the run list with
all 100 rows, and the page of one run.  It has arrived when the text of the page holds that step or a later one,
which the page itself notes (MutationObserver).

The peer is TensorBoard with its fast loader on the same folder while it is written to, at its fastest reload (1 s)
and at its default (5 s).  Only its server is measured, asked for one run every 50 ms: its page, where reloading is
switched on, asks each 30 s, at the fastest each 15 s.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlencode

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from benchmarks import tensorboard
from benchmarks.common import Bar, Report, options
from benchmarks.database import MANAGE, ROOT, Databases
from benchmarks.fanout import site, valkey

QUESTION = "How long does a step take from an event file on disk to the screen of a browser?"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome") or ""
TAGS = ("loss", "train/acc", "train/lr")

MAKE = """
import django
django.setup()
from django.contrib.auth.models import Group, User
from django.test import Client
user = User.objects.create_user("bench", password="x")
user.groups.add(Group.objects.get(name="viewer"))
client = Client()
client.force_login(user, "runs.signing.Accounts")
print(client.cookies["sessionid"].value)
"""
#: Notes when each row, or the header, first held each step: [key, step, Unix ms].
WATCH = """([rows, step]) => {
  window.held = [];
  const last = new Map();
  const look = () => {
    const at = performance.timeOrigin + performance.now();
    for (const row of document.querySelectorAll(rows)) {
      const said = Number(row.querySelector(step)?.textContent.replaceAll(',', ''));
      if (!Number.isNaN(said) && last.get(row.id) !== said) {
        last.set(row.id, said);
        window.held.push([row.querySelector('td.c-name a, h1').textContent, said, at]);
      }
    }
  };
  new MutationObserver(look).observe(document.querySelector('main'), {subtree: true, childList: true, characterData: true});
  look();
}"""
#: A moment: name of a run, step, Unix seconds.
Seen = tuple[str, int, float]


def main() -> int:
    given = options(QUESTION)
    runs, seconds = (10, 8) if given.quick else (100, 15)
    report = Report(QUESTION)
    with Databases() as databases, databases.empty() as name, TemporaryDirectory() as folder:
        home, logs = Path(folder) / "home", Path(folder) / "logs"
        with valkey(home) as bus, writing(logs, runs) as noted:
            env = {**databases.env(name), "REDIS_URL": bus, "TRAINMON_SECRET_KEY": "x" * 50, "TRAINMON_HOME": str(home)}
            rows = trainmon(env, logs, runs, seconds)
            for reload in (1, 5):
                rows[f"TensorBoard's server, reload {reload} s"] = peer(logs, reload, seconds)
            flushed = noted()
    for what, seen in rows.items():
        report.rows.append({"what": what, **summary(delays(flushed, seen))})
    report.bars = [Bar(f"{row['what']}: {name}", row[name], limit) for row in report.rows[:2]
                   for name, limit in (("p50 ms", 200), ("p99 ms", 800))]
    return report.print(given.json)


def trainmon(env: dict[str, str], logs: Path, runs: int, seconds: float) -> dict[str, list[Seen]]:
    """What the run list and the page of one run showed, and when."""
    with followed(env, logs) as (port, session, _), browsing(port, session) as context:
        return looked_at(context.new_page(), runs, seconds)


@contextmanager
def followed(env: dict[str, str], logs: Path) -> Iterator[tuple[int, str, int]]:
    """A site whose follower reads these logs: its port, a viewer's session, and the follower's process."""
    subprocess.run([*MANAGE, "sync_runs", f"bench={logs}"], env=env, check=True, stdout=subprocess.DEVNULL)
    made = subprocess.run([sys.executable, "-c", MAKE], env={**env, "DJANGO_SETTINGS_MODULE": "trainmon.settings"}, cwd=ROOT,
                          check=True, capture_output=True, text=True)
    with site("trainmon.asgi", env) as (port, _):
        follower = subprocess.Popen([*MANAGE, "sync_runs", "--watch"], env=env, stdout=subprocess.DEVNULL)
        try:
            yield port, made.stdout.split()[-1], follower.pid
        finally:
            follower.terminate()
            follower.wait(20)


@contextmanager
def browsing(port: int, session: str) -> Iterator[Any]:
    """A browser that is signed in, for paths of the site."""
    from playwright.sync_api import sync_playwright

    address = f"http://127.0.0.1:{port}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(viewport={"width": 1440, "height": 900}, base_url=address)
        context.add_cookies([{"name": "sessionid", "value": session, "url": address}])
        yield context
        browser.close()


def looked_at(page: Any, runs: int, seconds: float) -> dict[str, list[Seen]]:
    """Both pages in turn, each for so long once it is connected and its first frames are through."""
    found: dict[str, list[Seen]] = {}
    page.goto("/runs/?limit=500&sort=name")
    assert page.locator(".runs tbody tr").count() == runs
    one = page.locator("td.c-name a").first.get_attribute("href")
    for what, path, rows, step in (
        (f"run list, {runs} rows", "/runs/?limit=500&sort=name", ".runs tbody tr", "td.c-step"),
        ("page of a run", one, "header.run-head", ".facts .steps"),
    ):
        page.goto(path)
        page.wait_for_selector("#connection[data-state=live]")
        page.wait_for_timeout(4000)
        page.evaluate(WATCH, [rows, step])
        page.wait_for_timeout(seconds * 1000)
        found[what] = [(name, step, at / 1000) for name, step, at in page.evaluate("window.held")]
    return found


def peer(logs: Path, reload: int, seconds: float) -> list[Seen]:
    """When TensorBoard's server first answered each step of one run."""
    seen: list[Seen] = []
    with tensorboard.started(logs, "--reload_interval", str(reload)) as (_, address):
        query = urlencode({"run": "run-000", "tag": TAGS[0]})
        until = time.monotonic() + seconds + 3 * reload + 3
        while time.monotonic() < until:
            points = tensorboard.get(f"{address}/data/plugin/scalars/scalars?{query}")
            if points and (not seen or seen[-1][1] != points[-1][1]):
                seen.append(("run-000", points[-1][1], time.time()))
            time.sleep(0.05)
    return seen


def delays(flushed: Sequence[Seen], seen: Sequence[Seen]) -> list[float]:
    """Milliseconds of each step until it, or a later one, was there; of those flushed while somebody looked."""
    found = []
    shown: dict[str, list[tuple[int, float]]] = {}
    for name, step, at in seen:
        shown.setdefault(name, []).append((step, at))
    for name, step, at in flushed:
        mine = shown.get(name, [])
        if mine and mine[0][1] <= at and step <= mine[-1][0]:
            found.append((next(when for has, when in mine if has >= step) - at) * 1000)
    return found


def summary(found: list[float]) -> dict[str, Any]:
    found = sorted(found)
    return {"steps": len(found), "p50 ms": statistics.median(found), "p90 ms": found[int(len(found) * 0.9)],
            "p99 ms": found[int(len(found) * 0.99)], "max ms": found[-1]}


@contextmanager
def writing(logs: Path, runs: int) -> Iterator[Any]:
    """Runs that are written to by a process of its own; what is given ends it and tells what it flushed, and when."""
    logs.mkdir(parents=True)
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.live", "write", str(logs), str(runs)], cwd=ROOT,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    process.stdout.readline()

    def noted() -> list[Seen]:
        return [(name, step, at) for name, step, at in json.loads(process.communicate("\n")[0])]

    try:
        yield noted
    finally:
        process.kill()
        process.wait()


def write(logs: Path, runs: int) -> None:
    """A step a second to each run, evenly spread, until a line comes on standard input."""
    import select

    folders = [logs / f"run-{number:03d}" for number in range(runs)]
    for folder in folders:
        folder.mkdir()
    called = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.1.0"
    writers = [RecordWriter((folder / called).open("wb")) for folder in folders]
    flushed: list[Seen] = []
    begun, count = time.monotonic(), 0
    while not select.select([sys.stdin], [], [], max(0.0, begun + count / runs - time.monotonic()))[0]:
        number, step = count % runs, count // runs
        values = [Summary.Value(tag=tag, simple_value=1 / (step + 1)) for tag in TAGS]
        writers[number].write(Event(wall_time=time.time(), step=step, summary=Summary(value=values)).SerializeToString())
        writers[number].flush()
        flushed.append((f"run-{number:03d}", step, time.time()))
        count += 1
        if count == 3 * runs:
            print("going", flush=True)
    print(json.dumps(flushed))


if __name__ == "__main__":
    if sys.argv[1:2] == ["write"]:
        write(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        sys.exit(main())
