"""What does it cost to bury a run, beside renaming it and writing that down?

    python -m benchmarks.cleanup [--json] [--quick]

1,000 runs of ten files.  The bar is beside the least that would be safe at all: rename, fsync of
both folders, a commit before and one after.  Both take turns, run by run, on the same disk and
the same PostgreSQL.  Then all are purged, beside `rm -rf` of as many, and MLflow's delete and gc.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.common import DATA, Bar, Report, options
from benchmarks.database import ROOT, Databases
from retention.files import digest, listing, open_folder
from retention.graves import bury, forget, purge

QUESTION = "What does it cost to bury a run, beside renaming it and writing that down?"
FILES, SIZE = 10, 20_000
PEERS = DATA / "peers" / "bin" / "python"


def main() -> int:
    given = options(QUESTION)
    runs = [f"run_{number:04}" for number in range(100 if given.quick else 1000)]
    ours, peer = _planted("ours", runs), _planted("peer", runs)
    confirmed = {run: _digest(ours, run) for run in runs}
    os.sync()
    with Databases() as databases, databases.bare() as name, databases.connect(name) as journal:
        journal.execute("CREATE TABLE journal (run text PRIMARY KEY, step text)")
        taken = [(_timed(partial(_ours, journal, ours, run, confirmed[run])), _timed(partial(_peer, journal, peer, run)))
                 for run in runs]
    bury_s, rename_s = (sum(column) for column in zip(*taken, strict=True))
    purge_s = sum(_timed(partial(_purge, ours, run)) for run in runs)
    rm_s = _timed(lambda: subprocess.run(["rm", "-rf", peer.parent / ".peer-trash"], check=True))
    report = Report(QUESTION)
    for what, seconds in (("bury, journal before and after", bury_s), ("rename, 2 fsync, 2 commits", rename_s),
                          ("purge and forget", purge_s), ("rm -rf of as many, no fsync", rm_s)):
        report.rows.append({"what": what, "runs": len(runs), "s": seconds, "ms a run": seconds / len(runs) * 1000})
    report.bars.append(Bar("bury of all runs, times the least", bury_s / rename_s, 2))
    report.rows += _mlflow(ours.parent / "mlflow", len(runs))
    shutil.rmtree(ours.parent)
    return report.print(given.json)


def _mlflow(folder: Path, runs: int) -> list[dict[str, Any]]:
    if not PEERS.exists():
        print("make bench-peers installs MLflow to compare with", file=sys.stderr)
        return []
    given = json.dumps({"runs": runs, "files": FILES, "size": SIZE, "folder": folder.as_posix()})
    with Databases() as databases, databases.bare() as name:
        command, env = [str(PEERS), str(ROOT / "benchmarks" / "mlflow_deletion.py"), given], databases.env(name)
        done = subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE, text=True)
    rows: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return rows


def _planted(name: str, runs: list[str]) -> Path:
    """A root of its own with all runs; what an earlier time left is gone."""
    root = DATA / "cleanup" / name
    for left in (root, root.parent / ".trainmon-trash", root.parent / ".peer-trash"):
        shutil.rmtree(left, ignore_errors=True)
    for run in runs:
        (root / run / "checkpoints").mkdir(parents=True)
        for number in range(FILES):
            (root / run / ("checkpoints" if number % 2 else "") / f"file-{number}").write_bytes(bytes(SIZE))
    return root


def _digest(root: Path, run: str) -> str:
    with open_folder(root.as_posix(), run.encode()) as fd:
        return digest(listing(fd))


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _ours(journal: psycopg.Connection, root: Path, run: str, confirmed: str) -> None:
    journal.execute("INSERT INTO journal VALUES (%s, 'burying')", [f"ours/{run}"])
    bury(root.as_posix(), run.encode(), run, confirmed)
    journal.execute("UPDATE journal SET step = 'buried' WHERE run = %s", [f"ours/{run}"])


def _peer(journal: psycopg.Connection, root: Path, run: str) -> None:
    journal.execute("INSERT INTO journal VALUES (%s, 'burying')", [f"peer/{run}"])
    trash = root.parent / ".peer-trash"
    trash.mkdir(exist_ok=True)
    os.rename(root / run, trash / run)
    for folder in (root, trash):
        fd = os.open(folder, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
    journal.execute("UPDATE journal SET step = 'buried' WHERE run = %s", [f"peer/{run}"])


def _purge(root: Path, run: str) -> None:
    purge(root.as_posix(), run)
    forget(root.as_posix(), run)


if __name__ == "__main__":
    raise SystemExit(main())
