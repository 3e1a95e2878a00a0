"""How fast are all points of a run downloaded, unsampled, and what does it cost in memory?

A run of 100 tags lies in the database as a sync stores it; daphne serves it to a reader on
loopback. Beside it PostgreSQL's own COPY of the same points, kept as a row each.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import psutil

from benchmarks.common import Bar, Report, options
from benchmarks.database import ROOT, Databases

QUESTION = "Exporting every point of a run through daphne: points a second, and memory of the web process."
TAGS = 100
#: MB that the web process may grow while it exports.
GROWTH, PARQUET_GROWTH = 60.0, 160.0
#: Bytes a second that the slow reader takes, for so long.
SLOW, SLOW_SECONDS = 2_000_000, 8

MAKE = """
import sys, json
import django
django.setup()
import numpy as np
from datetime import UTC, datetime
from django.contrib.auth.models import User
from runs.chunks import CHUNK_POINTS, pack, summarize
from runs.models import ApiToken, LogFile, Run, Series, SeriesChunk, Source, Tag, Trainer
tags, length = map(int, sys.argv[1:])
source = Source.objects.create(trainer=Trainer.objects.create(name="bench", slug="bench"), root="/bench")
run = Run.objects.create(source=source, name="bench", path=b"bench", point_count=tags * length)
file = LogFile.objects.create(source=source, run=run, path=b"events.out.tfevents.1.host.1.0", kind="events")
noise = np.random.default_rng(0)
for number in range(tags):
    series = Series.objects.create(run=run, tag=Tag.objects.create(name=f"train/metric_{number}"), count=length)
    rows = []
    for start in range(0, length, CHUNK_POINTS):
        size = min(CHUNK_POINTS, length - start)
        steps = np.arange(start, start + size, dtype="<i8")
        walls = 1.79e9 + steps * 0.25 + noise.random(size) * 0.05
        values = (np.exp(-steps / 20000) + noise.normal(0, 0.05, size)).astype("<f4")
        facts = summarize(steps, walls, values)
        rows.append(SeriesChunk(series=series, log_file=file, generation=0, part=0, start=start,
                                data=pack(steps, walls, values), **{n: getattr(facts, n) for n in facts.__slots__}))
    SeriesChunk.objects.bulk_create(rows)
user = User.objects.create(username="bench", is_superuser=True)
print(json.dumps({"run": run.pk, "token": ApiToken.issue(user, "bench")[1]}))
"""


def main() -> int:
    """Measure, print, say whether the bars hold."""
    given = options(QUESTION)
    length = 10_000 if given.quick else 100_000
    report = Report(QUESTION)
    with Databases() as databases, databases.empty() as name:
        env = databases.env(name) | {"DJANGO_SETTINGS_MODULE": "trainmon.settings"}
        command = [sys.executable, "-c", MAKE, str(TAGS), str(length)]
        made = json.loads(subprocess.run(command, env=env, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
        for kind in ("csv", "json", "parquet"):
            with serving(env) as (port, web):
                report.rows.append(fast(port, web, made, kind, TAGS * length))
        with serving(env) as (port, web):
            report.rows.append(slow(port, web, made))
        report.rows.append(copied(databases, name, min(TAGS * length, 1_000_000)))
    by_name = {row["what"]: row for row in report.rows}
    for kind in ("csv", "json", "parquet"):
        row = by_name[f"{kind}, read at once"]
        report.bars.append(Bar(f"{kind}: us a point", 1e6 / row["points/s"], 5.0))
        report.bars.append(Bar(f"{kind}: MB grown", row["MB grown"], PARQUET_GROWTH if kind == "parquet" else GROWTH))
    report.bars.append(Bar("csv read slowly: MB grown", by_name["csv, read slowly"]["MB grown"], GROWTH))
    return report.print(given.json)


@contextmanager
def serving(env: dict[str, str]) -> Iterator[tuple[int, psutil.Process]]:
    """A web process of the site, warmed up by one request, and like any that was started before: it compiles nothing."""
    subprocess.run([sys.executable, "-c", "import trainmon.web, trainmon.asgi, trainmon.urls"], cwd=ROOT, env=env, check=True)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        command = [sys.executable, "-m", "trainmon.web", "--fd", str(listener.fileno())]
        process = subprocess.Popen(command, cwd=ROOT, env=env, pass_fds=[listener.fileno()], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        try:
            ask(port, "/login/", "").read()
            yield port, psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(10)


def ask(port: int, path: str, token: str) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    return answer


class Peak(threading.Thread):
    """The most memory that a process has while this runs, above what it had at the start."""

    def __init__(self, process: psutil.Process) -> None:
        super().__init__(daemon=True)
        self.process, self.before, self.most, self.over = process, process.memory_info().rss, 0, threading.Event()

    def run(self) -> None:
        """Look every 10 ms."""
        while not self.over.wait(0.01):
            self.most = max(self.most, self.process.memory_info().rss)

    def grown(self) -> float:
        """MB, once it is over."""
        self.over.set()
        self.join()
        return max(0, self.most - self.before) / 1e6


def fast(port: int, web: psutil.Process, made: dict[str, Any], kind: str, points: int) -> dict[str, Any]:
    """A reader that takes all there is."""
    peak, began = Peak(web), time.perf_counter()
    peak.start()
    answer, size = ask(port, f"/api/runs/{made['run']}/export/?as={kind}", made["token"]), 0
    while piece := answer.read(1 << 20):
        size += len(piece)
    taken = time.perf_counter() - began
    return {"what": f"{kind}, read at once", "points": points, "seconds": taken, "points/s": int(points / taken),
            "MB": size / 1e6, "MB grown": peak.grown()}


def slow(port: int, web: psutil.Process, made: dict[str, Any]) -> dict[str, Any]:
    """A reader that takes 2 MB a second, and gives up."""
    peak, began = Peak(web), time.perf_counter()
    peak.start()
    answer, size = ask(port, f"/api/runs/{made['run']}/export/?as=csv", made["token"]), 0
    while time.perf_counter() - began < SLOW_SECONDS and (piece := answer.read(SLOW // 10)):
        size += len(piece)
        time.sleep(0.1)
    taken = time.perf_counter() - began
    return {"what": "csv, read slowly", "points": "", "seconds": taken, "points/s": "", "MB": size / 1e6,
            "MB grown": peak.grown()}


def copied(databases: Databases, name: str, points: int) -> dict[str, Any]:
    """The peer: a table with a row for each point, by COPY ... TO STDOUT."""
    noise = np.random.default_rng(0)
    with databases.connect(name) as connection:
        connection.execute("CREATE TABLE points (run bigint, tag text, file text, part int, generation int, type text, "
                           "step bigint, wall double precision, value real)")
        with connection.cursor().copy("COPY points FROM STDIN") as copy:
            for step, value in enumerate(noise.normal(0, 1, points).astype("f4").tolist()):
                copy.write_row((1, "train/metric_1", "events.out.tfevents.1.host.1.0", 0, 0, "float32", step,
                                1.79e9 + step * 0.2537, value))
        began, size = time.perf_counter(), 0
        with connection.cursor().copy("COPY (SELECT * FROM points ORDER BY step) TO STDOUT (FORMAT csv)") as copy:
            for piece in copy:
                size += len(piece)
        taken = time.perf_counter() - began
    return {"what": "peer: PostgreSQL COPY of rows", "points": points, "seconds": taken,
            "points/s": int(points / taken), "MB": size / 1e6, "MB grown": ""}


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trainmon.settings")
    sys.exit(main())
