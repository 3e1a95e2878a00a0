"""How does one job of 1,000 steps a second fare: how often do its pages change, and how far behind is the follower?

    python -m benchmarks.steps [--json] [--quick]

A process writes 1,000 steps a second for 20 s, each a line of the job's log and three scalars of its event file, each
flushed by itself.  The real follower, Valkey, daphne and headless Chromium bring them to three pages: the job's,
the run's with its charts, and the run list.  ``updates a second`` are the websocket frames of a page that hold
fragments, points or lines; two kinds that come together count as one.  ``lag`` is the age of the oldest step that the
registry has not, looked at fifty times a second.  In the end each page must show the last step.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.common import Bar, Report, cpu_of, options
from benchmarks.database import ROOT, Databases
from benchmarks.fanout import valkey
from benchmarks.live import TAGS, browsing, followed

QUESTION = "How does one job of 1,000 steps a second fare: how often do its pages change, how far behind is the follower?"
RATE, JOB = 1000, "bench-steps"
#: Seconds between two frames that belong to one update: fragments and points of a moment are two frames.
TOGETHER = 0.05


@dataclass
class Page:
    """A page of the job, and when frames with something of it came (Unix seconds)."""

    what: str
    path: str
    step: str
    at: list[float] = field(default_factory=list)

    def hear(self, payload: str | bytes) -> None:
        """A frame; one that only keeps the socket alive does not count."""
        if isinstance(payload, bytes) or not {"fragments", "tail", "series"}.isdisjoint(json.loads(payload)):
            self.at.append(time.time())

    def listen(self, socket: Any) -> None:
        """Hear what comes over a socket."""
        socket.on("framereceived", self.hear)

    def updates(self, begun: float, ended: float) -> list[float]:
        """When something came, within these moments; what came together once."""
        at = [one for one in self.at if begun <= one <= ended]
        return at[:1] + [after for before, after in pairwise(at) if after - before > TOGETHER]


def main() -> int:
    given = options(QUESTION)
    seconds = 5 if given.quick else 20
    report = Report(QUESTION)
    with Databases() as databases, databases.empty() as name, TemporaryDirectory() as folder:
        home, logs = Path(folder) / "home", Path(folder) / "logs"
        with valkey(home) as bus, databases.connect(name) as registry:
            env = {**databases.env(name), "REDIS_URL": bus, "TRAINMON_SECRET_KEY": "x" * 50, "TRAINMON_HOME": str(home)}
            measure(report, env, registry, logs, seconds)
    return report.print(given.json)


def measure(report: Report, env: dict[str, str], registry: Any, logs: Path, seconds: int) -> None:
    """Write, look, and say what came."""
    writer = subprocess.Popen([sys.executable, "-m", "benchmarks.steps", "write", str(logs), str(seconds)], cwd=ROOT,
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip
    assert writer.stdout
    writer.stdout.readline()
    try:
        with followed(env, logs) as (port, session, follower), browsing(port, session) as context:
            pages, shown, seen, cpu, flushed = looked_at(context, registry, writer, follower)
    finally:
        writer.kill()
    begun, ended = flushed[0], flushed[-1]
    behind = sorted(lags(flushed, [one for one in seen if begun <= one[0] <= ended + 1]))
    last = len(flushed) - 1
    for page, step in zip(pages, shown, strict=True):
        at = page.updates(begun, ended)
        gaps = [after - before for before, after in pairwise(at)]
        report.rows.append({"page": page.what, "updates": len(at), "a second": (len(at) - 1) / max(sum(gaps), 0.001),
                            "least s between": min(gaps, default=0.0), "last step shown": step})  # fmt: skip
    report.bars = [
        *(Bar(f"{row['page']}: updates a second", row["a second"], 2.05) for row in report.rows),
        Bar("pages without the last step", sum(row["last step shown"] != last for row in report.rows), 0),
        Bar("steps a second that were missing at the writer", RATE - len(flushed) / (ended - begun), RATE * 0.02),
        Bar("lag p50, s", statistics.median(behind), 0.2), Bar("lag p99, s", behind[int(len(behind) * 0.99)], 1.0),
        Bar("lag max, s", behind[-1], 2.0), Bar("CPU of the follower, cores", cpu / (ended - begun), 1.0),
        Bar("points that are missing", len(flushed) * (len(TAGS) + 1) - stored(registry), 0),
    ]  # fmt: skip


def looked_at(
    context: Any, registry: Any, writer: subprocess.Popen[str], follower: int
) -> tuple[list[Page], list[int], list[tuple[float, int]], float, list[float]]:
    """The pages, the last step of each, (when, step) of the registry, CPU seconds of the follower, flushes by step."""
    (run, job), = registry.execute("SELECT run_id, id FROM runs_job").fetchall()
    pages = [Page("job", f"/jobs/{job}/", ".metric-cards dd"), Page("run", f"/runs/{run}/", ".facts .steps"),
             Page("run list", "/runs/", "td.c-step .steps")]  # fmt: skip
    with ThreadPoolExecutor(1) as pool:
        opened = []
        for page in pages:
            tab = context.new_page()
            tab.on("websocket", page.listen)
            tab.goto(page.path)
            tab.wait_for_selector("#connection[data-state=live]")
            opened.append(tab)
        while not registry.execute("SELECT followed IS NOT NULL FROM runs_source").fetchone()[0]:
            opened[0].wait_for_timeout(100)  # it is there, and knows the files
        opened[0].wait_for_timeout(1000)
        cpu, seen = cpu_of(follower), list[tuple[float, int]]()
        said = pool.submit(writer.communicate, "\n")
        while not said.done():
            seen.append((time.time(), registry.execute("SELECT step FROM runs_job").fetchone()[0]))
            opened[0].wait_for_timeout(20)
        cpu = cpu_of(follower) - cpu
        for _ in range(50):
            seen.append((time.time(), registry.execute("SELECT step FROM runs_job").fetchone()[0]))
            opened[0].wait_for_timeout(60)
        shown = [int(tab.text_content(page.step).split("/")[0].replace(",", ""))
                 for tab, page in zip(opened, pages, strict=True)]  # fmt: skip
    return pages, shown, seen, cpu, json.loads(said.result()[0])


def lags(flushed: Sequence[float], seen: Sequence[tuple[float, int]]) -> list[float]:
    """How old the oldest step was that the registry had not, at each look."""
    return [max(0.0, at - flushed[step + 1]) if step + 1 < len(flushed) else 0.0 for at, step in seen]


def stored(registry: Any) -> int:
    """Points of the run: of its scalars and of the loss that the log's lines say."""
    return int(registry.execute("SELECT point_count FROM runs_run").fetchone()[0])


def write(logs: Path, seconds: int) -> None:
    """A job that begins at once, and goes on for so long when a line comes on standard input; prints its flushes."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    folder = logs / "run"
    folder.mkdir(parents=True)
    flushed: list[float] = []
    events = folder / f"events.out.tfevents.{int(time.time())}.bench.1.0"
    with (folder / f"{JOB}.jsonl").open("w", buffering=1) as lines, events.open("wb") as out:
        scalars = RecordWriter(out)

        def step(number: int) -> None:
            values = [Summary.Value(tag=tag, simple_value=1 / (number + 1)) for tag in TAGS]
            scalars.write(Event(wall_time=time.time(), step=number, summary=Summary(value=values)).SerializeToString())
            scalars.flush()
            at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() // 1_000_000 % 1000:03}Z"
            fields = {"step": number, "total_steps": RATE * seconds, "loss": 1 / (number + 1)}
            lines.write(json.dumps({"ts": at, "level": "INFO", "service": "worker", "job_id": JOB, "msg": f"Step {number}",
                                    "event": "training.step", "fields": fields}) + "\n")  # fmt: skip
            flushed.append(time.time())

        step(0)
        print("begun", flush=True)
        sys.stdin.readline()
        flushed[0] = time.time()
        begun = time.monotonic()
        for number in range(1, RATE * seconds):
            if (pause := begun + number / RATE - time.monotonic()) > 0:
                time.sleep(pause)
            step(number)
    print(json.dumps(flushed))


if __name__ == "__main__":
    if sys.argv[1:2] == ["write"]:
        write(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        sys.exit(main())
