"""How long does it take to look at 10,000 runs, and to say which they are?

    python -m benchmarks.scan [--json] [--quick]

A run is a directory with one event file, in 100 datasets.  Beside ours: os.walk with a stat a
file, and the old cleanup's way, three recursive globs a run (pitfalls B14).
"""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.common import DATA, Bar, Report, options
from runs.readers.found import Peeked
from runs.readers.layout import find_runs
from runs.readers.naming import is_wanted
from runs.readers.tree import Tree, walk

QUESTION = "How long does it take to look at 10,000 runs, and to say which they are?"
ROUNDS = 5


def main() -> int:
    given = options(QUESTION)
    datasets = 10 if given.quick else 100
    root = _planted(datasets)
    tree = _tree(root)
    seconds = {
        "scan: one pass, one stat a file": _cpu(lambda: _tree(root)),
        "layout: which of it are runs": _cpu(lambda: find_runs(tree, peek=_never)),
        "os.walk and stat": _cpu(lambda: _os_walk(root)),
        "three globs a run (old cleanup)": _cpu(lambda: _three_globs(root)),
    }
    report = Report(QUESTION)
    for name, value in seconds.items():
        report.rows.append({"what": name, "runs": datasets * 100, "CPU s": value})
    ours, layout, *_ = seconds.values()
    report.bars.append(Bar("scan of 10,000 runs, CPU s", ours * 100 / datasets, 0.3))
    report.bars.append(Bar("scan and layout of 10,000 runs, CPU s", (ours + layout) * 100 / datasets, 0.6))
    return report.print(given.json)


def _planted(datasets: int) -> Path:
    root = DATA / f"scan-{datasets}"
    shutil.rmtree(root, ignore_errors=True)
    for number in range(datasets * 100):
        run = root / f"routing_{number // 100:03}" / f"run_{number:05}"
        run.mkdir(parents=True)
        (run / f"events.out.tfevents.{1_700_000_000 + number}.host.1.0").write_bytes(b"x" * 88)
    return root


def _cpu(look: Callable[[], object]) -> float:
    """The median CPU time of some rounds; the tree is in the page cache."""
    taken = []
    for _ in range(ROUNDS):
        began = time.process_time()
        look()
        taken.append(time.process_time() - began)
    return statistics.median(taken)


def _tree(root: Path) -> Tree:
    tree = walk(os.fsencode(root), keep=is_wanted)
    assert isinstance(tree, Tree)
    return tree


def _never(path: bytes) -> Peeked:
    raise AssertionError(f"names decide here, and {path!r} was looked into")


def _os_walk(root: Path) -> int:
    return sum(os.stat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(root) for name in names)


def _three_globs(root: Path) -> float:
    total = 0.0
    for run in root.glob("*/*"):
        total += sum(file.stat().st_size for file in run.rglob("*") if file.is_file())
        total += len(list(run.rglob("events.out.tfevents.*")))
        total += max(file.stat().st_mtime for file in run.rglob("*") if file.is_file())
    return total


if __name__ == "__main__":
    sys.exit(main())
