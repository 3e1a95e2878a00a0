"""How fast are charts: points for many runs, and a run's page of 200 tags in a real browser?

    python -m benchmarks.charts [--json] [--quick]

daphne serves a database of its own to readers on loopback.  Points are asked for as the pages do
(binary, 1,000 a line) and as scripts do (JSON), on one connection, with a token; ``ms`` is the
median until the last byte.  The peer is TensorBoard's own endpoint for time series, on the same
20 runs of 1,000 points each, written by its own writer: it answers from memory, sampled when it
read the files, where we decode and thin for each question.

The page is opened by headless Chromium without a GPU, each time with an empty cache; its first
contentful paint is the browser's own figure.  ``tab MB`` is the USS of the renderer process after
all 200 charts were scrolled through, twice; beside it JSHeapUsedSize after a collection.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import psutil

from benchmarks import tensorboard, written
from benchmarks.common import Bar, Report, options
from benchmarks.database import ROOT, Databases
from benchmarks.export import serving
from benchmarks.written import Tree
from trainmon.embedded.programs import MALLOC

if TYPE_CHECKING:
    from playwright.sync_api import Page

QUESTION = "How fast are charts: points for 20 runs, and a run's page of 200 tags in a real browser?"
RUNS, TAGS, LONG, SHORT = 20, 200, 100_000, 1_000
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome") or ""

MAKE = """
import json, sys
import django
django.setup()
import numpy as np
from django.contrib.auth.models import User
from django.test import Client
from runs.chunks import CHUNK_POINTS, pack, summarize
from runs.models import ApiToken, LogFile, Run, Segment, Series, SeriesChunk, Source, Tag, Trainer
source = Source.objects.create(trainer=Trainer.objects.create(name="bench", slug="bench"), root="/bench")
noise = np.random.default_rng(0)

def make(name, tags, length):
    run = Run.objects.create(source=source, name=name, path=name.encode())
    file = LogFile.objects.create(source=source, run=run, path=b"events.out.tfevents.1.host.1.0", kind="events")
    Segment.objects.create(run=run, log_file=file, generation=0, part=0, reason="start", offset=0, first_step=0,
                           last_step=length - 1, first_wall=1.79e9, last_wall=1.79e9 + length)
    for tag in tags:
        steps = np.arange(length, dtype="<i8")
        walls = 1.79e9 + steps * 0.25 + noise.random(length) * 0.05
        values = (np.exp(-steps / 20000) + noise.normal(0, 0.05, length)).astype("<f4")
        facts = summarize(steps, walls, values)
        series = Series.objects.create(run=run, tag=Tag.objects.get_or_create(name=tag)[0], count=length,
            first_step=0, last_step=length - 1, last=facts.last, last_wall=facts.last_wall, minimum=facts.minimum,
            maximum=facts.maximum)
        SeriesChunk.objects.bulk_create([
            SeriesChunk(series=series, log_file=file, generation=0, part=0, start=start,
                        data=pack(steps[cut], walls[cut], values[cut]),
                        **{n: getattr(facts, n) for facts in [summarize(steps[cut], walls[cut], values[cut])]
                           for n in facts.__slots__})
            for start in range(0, length, CHUNK_POINTS) for cut in [slice(start, start + CHUNK_POINTS)]])
    return run.pk

count, long, short, tags = map(int, sys.argv[1:])
user = User.objects.create(username="bench", is_superuser=True)
client = Client()
client.force_login(user, "runs.signing.Accounts")
print(json.dumps({
    "long": [make(f"long-{n}", ["loss"], long) for n in range(count)],
    "short": [make(f"short-{n}", ["loss"], short) for n in range(count)],
    "wide": make("wide", [f"group{n // 20}/metric_{n}" for n in range(tags)], 2 * short),
    "token": ApiToken.issue(user, "bench")[1], "session": client.cookies["sessionid"].value}))
"""


def main() -> int:
    """Measure, print, say whether the bars hold."""
    given = options(QUESTION)
    report = Report(QUESTION)
    rounds = 7 if given.quick else 21
    with Databases() as databases, databases.empty() as name:
        env = databases.env(name) | {"DJANGO_SETTINGS_MODULE": "trainmon.settings", "TRAINMON_API_RATE": "0,0,0"}
        env |= MALLOC  # as `up` and the image start the site
        command = [sys.executable, "-c", MAKE, *map(str, (RUNS, LONG, SHORT, TAGS))]
        made = json.loads(subprocess.run(command, env=env, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout)
        with serving(env) as (port, web):
            points(report, port, made, rounds)
            peer(report, rounds)
            browser(report, port, made, 3 if given.quick else 7)
            memory = web.memory_info().rss / 1e6
    report.rows.append(row("web process after all of it", MB=memory))
    report.bars.append(Bar("web process, MB", memory, 150))
    return report.print(given.json)


def row(what: str, **figures: Any) -> dict[str, Any]:
    """A row of the table, with every column."""
    return {"what": what, **{name: figures.get(name, "") for name in ("ms", "worst ms", "kB", "MB", "charts")}}


def points(report: Report, port: int, made: dict[str, Any], rounds: int) -> None:
    """One tag of 20 runs, short and long, for a page and for a script."""
    for length, name, limit in ((LONG, "long", 200), (SHORT, "short", 50)):
        for kind in ("binary", "json"):
            query = urlencode({"run": made[name], "tag": "loss", "format": kind}, doseq=True)
            what = f"{RUNS} runs x {length:,} points, {kind}"
            headers = {"Authorization": f"Bearer {made['token']}"}
            report.rows.append(timed(what, port, "GET", f"/api/series/?{query}", headers, None, rounds))
            if kind == "binary":
                report.bars.append(Bar(f"{what}: p50 ms", report.rows[-1]["ms"], limit))
    part = {"from": LONG // 2, "to": LONG // 2 + 500}
    query = urlencode({"run": made["long"], "tag": "loss", "format": "binary", **part}, doseq=True)
    what = f"{RUNS} runs zoomed to 500 of {LONG:,}"
    report.rows.append(timed(what, port, "GET", f"/api/series/?{query}", headers, None, rounds))


def peer(report: Report, rounds: int) -> None:
    """TensorBoard's time series of a tag of the same number of runs and points."""
    logdir = written.make(Tree(RUNS, 1, SHORT))
    tensorboard.seconds_until_served(logdir, RUNS, 1, SHORT - 1)  # the files are in the page cache for both
    with tensorboard.started(logdir) as (_, address):
        tags = f"{address}/data/plugin/scalars/tags"
        until = time.monotonic() + tensorboard.PATIENCE
        while len(tensorboard.get(tags) or {}) < RUNS and time.monotonic() < until:
            time.sleep(0.1)
        boundary = "points"
        asked = json.dumps([{"plugin": "scalars", "tag": "train/loss"}])
        body = (f'--{boundary}\r\nContent-Disposition: form-data; name="requests"\r\n\r\n{asked}\r\n--{boundary}--\r\n').encode()
        port = urlsplit(address).port or 0
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        path = "/experiment/defaultExperimentId/data/plugin/timeseries/timeSeries"
        report.rows.append(timed(f"peer: TensorBoard, {RUNS} runs x {SHORT:,} points", port, "POST", path, headers, body, rounds))


def timed(
    what: str, port: int, method: str, path: str, headers: dict[str, str], body: bytes | None, rounds: int
) -> dict[str, Any]:
    """The same request again and again on one connection, after two to warm up."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    taken, size = [], 0
    for turn in range(rounds + 2):
        began = time.perf_counter()
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        size = len(answer.read())
        assert answer.status == 200, (what, answer.status)
        if turn >= 2:
            taken.append((time.perf_counter() - began) * 1000)
    connection.close()
    return row(what, ms=statistics.median(taken), kB=size / 1000) | {"worst ms": max(taken)}


def browser(report: Report, port: int, made: dict[str, Any], rounds: int) -> None:
    """First paint, charts drawn, and what a tab takes once all were seen."""
    from playwright.sync_api import sync_playwright

    address = f"http://127.0.0.1:{port}/runs/{made['wide']}/"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        paints, first = [], 0
        for turn in range(rounds + 1):
            context = chromium.new_context(viewport={"width": 1440, "height": 900})
            context.add_cookies([{"name": "sessionid", "value": made["session"], "domain": "127.0.0.1", "path": "/"}])
            page = context.new_page()
            page.goto(address)
            page.wait_for_selector(".chart-card canvas")
            if turn:
                paints.append(float(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")))
            first = drawn(page)
            if turn < rounds:
                context.close()
        seen = scrolled(page) | scrolled(page)
        used, heap = weighed(page)
        paint = row(f"page of {TAGS} tags: first contentful paint", ms=statistics.median(paints), charts=first)
        report.rows += [
            paint | {"worst ms": max(paints)},
            row(f"all {TAGS} charts scrolled through twice: tab MB (USS)", MB=used, charts=len(seen)),
            row("the same: JS heap", MB=heap, charts=drawn(page)),
        ]
        chromium.close()
    report.bars += [
        Bar("first contentful paint, ms", statistics.median(paints), 500),
        Bar("charts drawn before scrolling", first, 40),
        Bar("charts never drawn while scrolling", TAGS - len(seen), 0),
        Bar("tab, MB", used, 150),
    ]


def drawn(page: Page) -> int:
    return int(page.evaluate("document.querySelectorAll('.chart-card canvas').length"))


def scrolled(page: Page) -> set[str]:
    """The tags whose charts were drawn on the way from the top to the end."""
    tags = "[...document.querySelectorAll('.chart-card:has(canvas)')].map((card) => card.dataset.tag)"
    seen: set[str] = set()
    height, at = int(page.evaluate("document.documentElement.scrollHeight")), 0
    while at < height:
        page.evaluate(f"scrollTo(0, {at})")
        page.wait_for_timeout(100)
        page.wait_for_selector(".area.loading", state="detached")
        seen |= set(page.evaluate(tags))
        at += 700
    return seen


def weighed(page: Page) -> tuple[float, float]:
    """MB of the tab's own process, and of its JS heap, after a collection."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    session.send("Performance.enable")
    metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
    renderers = [one for one in psutil.Process().children(recursive=True) if "--type=renderer" in _arguments(one)]
    used = max(one.memory_full_info().uss for one in renderers)
    return used / 1e6, metrics["JSHeapUsedSize"] / 1e6


def _arguments(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trainmon.settings")
    assert Path(CHROMIUM).exists(), "no Chromium: apt-get install chromium, or name it in CHROMIUM"
    sys.exit(main())
