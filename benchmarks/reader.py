"""How much CPU does reading event files take, beside TensorBoard's fast data server?

Every shape is read by runs.readers.tfevents.read with each CRC checked, by the data server
(default options: no payload CRC, 1,000 points a tag kept), and by plain read() of the bytes.
CPU is user and system seconds of the process; each round measures all three one after the
other, and a bar is the median of the rounds' ratios.  Data: benchmarks/event_files.py.
"""

from __future__ import annotations

import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

if not __package__:  # run by its path instead of with -m
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import event_files
from benchmarks.common import DATA, Bar, Report, data_server_cpu, options
from runs.readers.records import BLOCK_BYTES
from runs.readers.tfevents import read

QUESTION = "How much CPU does reading event files take?"
#: Shape -> at most this share of the data server's CPU.
LIMITS = {"torch": 0.2, "tf.summary": 1.0, "20 values an event": 1.0, "one tag a file": 1.0,
          "multirate": 2.0, "threaded": 2.0, "random order": 2.0, "1,000 tags": 2.0}
#: Reading torch scalars takes at most this many times the CPU of read() of the bytes.
TIMES_READ = 15.0
#: Memory of reading a file five times as long may be this many MB more.
MORE_MEMORY_MB = 16.0


def _files(logdir: Path) -> Iterator[int]:
    for path in sorted(logdir.rglob("*tfevents*")):
        fd = os.open(path, os.O_RDONLY)
        yield fd
        os.close(fd)


def read_bytes(logdir: Path) -> int:
    total = 0
    for fd in _files(logdir):
        at = 0
        while data := os.pread(fd, BLOCK_BYTES, at):
            at += len(data)
        total += at
    return total


def read_points(logdir: Path) -> int:
    """Count the points of all files, block by block as the sync engine does."""
    points = 0
    for fd in _files(logdir):
        state, at_end = None, False
        while not at_end:
            block = read(fd, state)
            assert not block.damages
            points += sum(len(one.steps) for one in block.points)
            state, at_end = block.state, block.at_end
    return points


def cpu(step: Callable[[], int], wanted: int) -> float:
    """CPU seconds of a step, which must return ``wanted``."""
    start = time.process_time()
    found = step()
    taken = time.process_time() - start
    assert found == wanted, f"{found} instead of {wanted}"
    return taken


def measure(name: str, count: int, rounds: int, report: Report) -> None:
    logdir = event_files.make(name, count, DATA)
    size = read_bytes(logdir)
    read_points(logdir)
    taken = []
    for _ in range(rounds):
        taken.append((cpu(lambda: read_points(logdir), count),
                      data_server_cpu(logdir),
                      cpu(lambda: read_bytes(logdir), size)))
    ours, server, plain = (statistics.median(column) for column in zip(*taken, strict=True))
    ratio = statistics.median(a / b for a, b, _ in taken)
    report.rows.append({
        "shape": name, "points": count, "MB": size / 1e6, "trainmon s": ours,
        "data server s": server, "share": ratio, "read() s": plain,
        "ns a point": ours / count * 1e9})
    report.bars.append(Bar(f"{name}: share of the data server's CPU", ratio, LIMITS[name]))
    if name == "torch":
        times = statistics.median(a / c for a, _, c in taken)
        report.bars.append(Bar("torch: times the CPU of read()", times, TIMES_READ))


def memory(count: int, report: Report) -> None:
    """Peak memory of this process must follow the tags, not the points."""
    peaks = []
    for points in (count // 5, count):
        read_points(event_files.make("torch", points, DATA))
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    report.bars.append(Bar("memory: MB more for five times the points", peaks[1] - peaks[0],
                           MORE_MEMORY_MB))


def main() -> int:
    chosen = options(QUESTION)
    report = Report(QUESTION)
    most, others, rounds = (2_000_000, 400_000, 3) if chosen.quick else (10_000_000, 2_000_000, 3)
    memory(most, report)
    for name in LIMITS:
        measure(name, most if name == "torch" else others, rounds, report)
    return report.print(chosen.json)


if __name__ == "__main__":
    sys.exit(main())
