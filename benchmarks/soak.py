"""How does the follower bear 1,000 live runs?  Its memory at minute 2 and 10, and how far it is behind.

A thousand event files are appended to for ten minutes (--quick: 200 for one), each every ten seconds: four
scalars a time, 100 flushes a second in all.  The follower is the real `sync_runs --watch`; lag is the time from
the flush to the moment when another connection sees the rows' offset.
"""

from __future__ import annotations

import io
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg

from benchmarks import written
from benchmarks.common import DATA, Bar, Report, options
from benchmarks.database import Databases

QUESTION = "Following: memory and lag with 1,000 runs that grow"
TAGS, EVERY = 4, 10.0
#: Bars of the follower: bytes of memory, growth from the first mark to the last, seconds behind.
MEMORY, GROWTH, LAG_P50, LAG_P99 = 512 << 20, 0.10, 0.2, 2.0
ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Trainers(threading.Thread):
    """Appends to all files in turn, one flush at a time."""

    root: Path
    runs: int
    files: list[Path] = field(default_factory=list)
    waiting: dict[bytes, list[tuple[int, float]]] = field(default_factory=dict)
    done: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        for number in range(self.runs):
            path = self.root / f"dataset{number % 10}" / f"run-{number:04}" / "events.out.tfevents.1790000000.bench.1.0"
            path.parent.mkdir(parents=True)
            path.write_bytes(flush(0))
            self.files.append(path)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        """For ever, at the same pace whatever the follower does."""
        opened = [path.open("ab", buffering=0) for path in self.files]
        sizes = [path.stat().st_size for path in self.files]
        due, step = time.monotonic(), 0
        while not self.done.is_set():
            step += 1
            order = list(range(self.runs))
            random.shuffle(order)
            for number in order:
                data = flush(step)
                opened[number].write(data)
                sizes[number] += len(data)
                with self.lock:
                    path = os.fsencode(self.files[number].relative_to(self.root))
                    self.waiting.setdefault(path, []).append((sizes[number], time.monotonic()))
                due += EVERY / self.runs
                if self.done.wait(max(0.0, due - time.monotonic())):
                    break

    def seen(self, offsets: dict[bytes, int]) -> list[float]:
        """How long ago was written what is now in the database and was not before."""
        now, lags = time.monotonic(), []
        with self.lock:
            for path, offset in offsets.items():
                queue = self.waiting.get(path, [])
                while queue and queue[0][0] <= offset:
                    lags.append(now - queue.pop(0)[1])
        return lags

    def behind(self) -> float:
        """Seconds since the oldest flush that nobody has seen."""
        with self.lock:
            oldest = min((queue[0][1] for queue in self.waiting.values() if queue), default=time.monotonic())
        return time.monotonic() - oldest


def flush(step: int) -> bytes:
    """What a trainer writes at a step."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    out = io.BytesIO()
    writer = RecordWriter(out)
    for event in written.events(TAGS, step, 1, seed=step):
        writer.write(event)
    return out.getvalue()


def offsets(looking: psycopg.Connection) -> dict[bytes, int]:
    """How far each file has been read, as another connection sees it."""
    return dict(looking.execute('SELECT path, "offset" FROM runs_logfile').fetchall())


def memory(process: psutil.Process) -> tuple[int, int]:
    """Resident bytes of the follower alone, and with its fork server and scans."""
    own = process.memory_info().rss
    below = 0
    for child in process.children(recursive=True):
        try:
            below += child.memory_info().rss
        except psutil.Error:
            continue
    return own, own + below


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0


def measure(runs: int, seconds: float) -> Report:
    """In a database of its own: what an earlier soak has read of the same paths would be taken for what is read now."""
    with Databases() as databases, databases.empty() as name, databases.connect(name) as looking:
        return followed(runs, seconds, databases.env(name), looking)


def followed(runs: int, seconds: float, env: dict[str, str], looking: psycopg.Connection) -> Report:
    root = DATA / "soak"
    shutil.rmtree(root, ignore_errors=True)
    trainers = Trainers(root, runs)
    follower = subprocess.Popen([sys.executable, "manage.py", "sync_runs", "--watch", f"bench-soak={root}"], cwd=ROOT, env=env)
    report, process = Report(QUESTION), psutil.Process(follower.pid)
    try:
        while len(read := offsets(looking)) < runs or not all(read.values()):
            time.sleep(0.5)
        time.sleep(2)
        trainers.start()
        began, marks, lags = time.monotonic(), [seconds * share for share in (0.2, 0.4, 0.6, 0.8, 1.0)], list[float]()
        resident: list[int] = []
        every: list[float] = []
        cpu = sum(process.cpu_times()[:2])
        while marks:
            time.sleep(0.02)
            lags += trainers.seen(offsets(looking))
            if time.monotonic() - began >= marks[0]:
                own, whole = memory(process)
                resident.append(own)
                every += lags
                report.rows.append({
                    "minute": marks.pop(0) / 60, "flushes": len(lags), "lag p50 ms": 1000 * quantile(lags, 0.5),
                    "p99 ms": 1000 * quantile(lags, 0.99), "oldest unseen s": trainers.behind(),
                    "RSS MB": own >> 20, "with children MB": whole >> 20,
                    "CPU cores": (sum(process.cpu_times()[:2]) - cpu) / (time.monotonic() - began)})
                lags = []
        report.bars = [
            Bar("RSS, MB", max(resident) / 2**20, MEMORY / 2**20),
            Bar("growth of RSS from the first mark to the last", resident[-1] / resident[0] - 1, GROWTH),
            Bar("lag p50, s", quantile(every, 0.5), LAG_P50),
            Bar("lag p99, s", quantile(every, 0.99), LAG_P99),
        ]
    finally:
        trainers.done.set()
        follower.terminate()
        follower.wait(15)
        shutil.rmtree(root, ignore_errors=True)
    return report


def main() -> int:
    asked = options(QUESTION)
    report = measure(200, 60.0) if asked.quick else measure(1000, 600.0)
    return report.print(asked.json)


if __name__ == "__main__":
    sys.exit(main())
