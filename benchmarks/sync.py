"""How long does a sync take, and what does it leave in the database?

    python -m benchmarks.sync [--json] [--quick]

The data were written by tensorboard's EventFileWriter in torch's shape: 100 runs x 20 tags.
Each cold sync is the whole command, interpreter and Django included, into an empty database
on the server of the settings (DATABASE_URL, else the embedded one); files are in the page
cache for us and for the peer.  The peer is TensorBoard with its fast loader, from start until
it lists every run and tag and serves the last points of ten runs; it keeps 1,000 points a
tag in memory and passes over payload CRCs, we keep all points on disk and check every CRC.
"A running worker" is a process with Django loaded that syncs as the Celery task does.

Times are wall seconds, medians of rounds in which the peer and we take turns; CPU seconds
are those of the command without PostgreSQL.  Memory is the peak PSS of the command and its
children, PostgreSQL not counted.  Bytes a point are those of the tables of points with their
indexes and TOAST, after CHECKPOINT, as a sync leaves them.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import memory, tensorboard, worker, written
from benchmarks.common import DATA, Bar, Report, options
from benchmarks.database import MANAGE, Databases
from benchmarks.written import Tree

QUESTION = "How long does a sync take, and what does it leave in the database?"
POINT_TABLES = ("runs_serieschunk", "runs_seriestail", "runs_series", "runs_segment")
#: Runs that still write while 10,000 are looked at: their status follows the clock.
RUNNING = 50
GROWING, GROWN_STEPS = 5, 5

Timed = tuple[float, float]


def main() -> int:
    given = options(QUESTION)
    report = Report(QUESTION)
    small = Tree(10, 20, 1000) if given.quick else Tree(100, 20, 1000)
    rounds = 1 if given.quick else 3
    with Databases() as databases:
        compare_with_peer(databases, report, small, rounds)
        if not given.quick:
            sync_much(databases, report, Tree(100, 20, 5000), rounds)
        weigh(databases, report, small if given.quick else Tree(100, 20, 5000))
        look_again(databases, report, Tree(1000 if given.quick else 10_000, 2, 5))
        go_on(databases, report, small)
    return report.print(given.json)


def row(what: str, **figures: Any) -> dict[str, Any]:
    """A row of the table, with every column."""
    names = ("s", "CPU s", "peer s", "peer CPU s", "MB", "B/point")
    return {"what": what, **{name: figures.get(name, "") for name in names}}


def compare_with_peer(databases: Databases, report: Report, tree: Tree, rounds: int) -> None:
    """A whole cold sync beside TensorBoard's start, in turns; and what it stores."""
    logdir = written.make(tree)
    warm(logdir)
    ours, theirs, sizes = [], [], {}
    for _ in range(rounds):
        theirs.append(tensorboard.seconds_until_served(logdir, tree.runs, tree.tags, tree.steps - 1))
        with databases.empty() as name:
            ours.append(cold_sync(databases, name, logdir, tree))
            sizes = bytes_a_point(databases, name, tree.points)
    (s, cpu), (peer, peer_cpu) = medians(ours), medians(theirs)
    report.rows.append(row(f"sync_runs, {tree.points:,} points, whole command",
                           **{"s": s, "CPU s": cpu, "peer s": peer, "peer CPU s": peer_cpu}))
    report.bars.append(Bar(f"{tree.points:,} points, s (the peer's)", s, peer))
    tell_sizes(report, tree, sizes)


def sync_much(databases: Databases, report: Report, tree: Tree, rounds: int) -> None:
    """Ten million points."""
    logdir = written.make(tree)
    warm(logdir)
    peer, peer_cpu = tensorboard.seconds_until_served(logdir, tree.runs, tree.tags, tree.steps - 1)
    ours, sizes = [], {}
    for _ in range(rounds):
        with databases.empty() as name:
            ours.append(cold_sync(databases, name, logdir, tree))
            sizes = bytes_a_point(databases, name, tree.points)
    s, cpu = medians(ours)
    report.rows.append(row(f"sync_runs, {tree.points:,} points, whole command",
                           **{"s": s, "CPU s": cpu, "peer s": peer, "peer CPU s": peer_cpu}))
    report.bars.append(Bar(f"{tree.points:,} points, s", s, 10.0))
    tell_sizes(report, tree, sizes)


def weigh(databases: Databases, report: Report, tree: Tree) -> None:
    """Memory of a cold sync, in a run of its own: watching takes time."""
    logdir = written.make(tree)
    with databases.empty() as name:
        peak = memory.peak_of([*MANAGE, "sync_runs", f"bench={logdir}", "--json"], databases.env(name))
    report.rows.append(row(f"memory of sync_runs, {tree.points:,} points, without PostgreSQL", MB=peak))
    report.bars.append(Bar("peak memory of a sync, MB", peak, 300.0))


def look_again(databases: Databases, report: Report, tree: Tree) -> None:
    """Nothing new over many runs, some of them still running."""
    logdir = written.make(tree)
    recent = time.time() - 10
    for file in sorted(logdir.rglob("*tfevents*"))[:RUNNING]:
        os.utime(file, (recent, recent))
    with databases.empty() as name, worker.running(databases.env(name)) as running:
        first = cold_sync(databases, name, logdir, tree)
        running.sync(1)
        times = [expect(running.sync(1), unchanged=tree.runs) for _ in range(5)]
        command = medians([timed_command(databases, name) for _ in range(3)])
    s = statistics.median(times)
    report.rows += [
        row(f"first sync of {tree.runs:,} small runs, whole command", **{"s": first[0], "CPU s": first[1]}),
        row(f"nothing new over {tree.runs:,} runs, running worker", s=s),
        row(f"nothing new over {tree.runs:,} runs, whole command", **{"s": command[0], "CPU s": command[1]}),
    ]
    report.bars += [Bar(f"nothing new over {tree.runs:,} runs, running worker, s", s, 1.0),
                    Bar(f"nothing new over {tree.runs:,} runs, whole command, s", command[0], 2.0)]


def go_on(databases: Databases, report: Report, tree: Tree) -> None:
    """A few runs have grown."""
    with tempfile.TemporaryDirectory(dir=DATA) as folder, databases.empty() as name:
        logdir = Path(folder) / "logs"
        shutil.copytree(written.make(tree), logdir)
        files = sorted(logdir.rglob("*tfevents*"))
        with worker.running(databases.env(name)) as running:
            cold_sync(databases, name, logdir, tree)
            running.sync(1)
            done = 0

            def grow() -> int:
                nonlocal done
                some = files[done % len(files):][:GROWING]
                step = tree.steps + done // len(files) * GROWN_STEPS
                done += GROWING
                return sum(written.append(file, tree.tags, step, GROWN_STEPS) for file in some)

            times = [expect(running.sync(1), points=points) for points in (grow() for _ in range(7))]
            commands = []
            for _ in range(3):
                grow()
                commands.append(timed_command(databases, name))
    s, command = statistics.median(times), medians(commands)
    points = GROWING * GROWN_STEPS * tree.tags
    report.rows += [
        row(f"{points} new points in {GROWING} of {tree.runs} runs, running worker", s=s),
        row(f"{points} new points in {GROWING} of {tree.runs} runs, whole command",
            **{"s": command[0], "CPU s": command[1]}),
    ]
    report.bars.append(Bar(f"{points} new points in {GROWING} of {tree.runs} runs, running worker, s", s, 0.5))


def cold_sync(databases: Databases, name: str, logdir: Path, tree: Tree) -> Timed:
    """The first sync of a tree by the command; all points must be there."""
    taken = timed(lambda: command(databases, name, f"bench={logdir}"))
    with databases.connect(name) as connection:
        (points,) = connection.execute("SELECT sum(count) FROM runs_series").fetchone() or (0,)
    if points != tree.points:
        raise AssertionError(f"{points:,} points were stored, not {tree.points:,}")
    return taken


def timed_command(databases: Databases, name: str) -> Timed:
    """A later sync by the command."""
    return timed(lambda: command(databases, name, "--source", "1"))


def command(databases: Databases, name: str, *arguments: str) -> None:
    subprocess.run([*MANAGE, "sync_runs", *arguments, "--json"], env=databases.env(name), check=True,
                   stdout=subprocess.DEVNULL)


def timed(call: Callable[[], None]) -> Timed:
    """Wall seconds, and the CPU seconds of the children that ended meanwhile."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    call()
    taken, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return taken, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def medians(times: list[Timed]) -> Timed:
    return statistics.median(s for s, _ in times), statistics.median(cpu for _, cpu in times)


def expect(answer: dict[str, Any], **figures: int) -> float:
    """The seconds that a worker's sync took, once it is sure that it did what was asked."""
    if any(answer[name] != figure for name, figure in figures.items()):
        raise AssertionError(f"expected {figures}, the sync said {answer}")
    return float(answer["taken"])


def bytes_a_point(databases: Databases, name: str, points: int) -> dict[str, float]:
    """Growth of each table of points, with indexes and TOAST, by point."""
    def sizes(of: str) -> dict[str, int]:
        with databases.connect(of) as connection:
            connection.execute("CHECKPOINT")
            rows = connection.execute(
                "SELECT name, pg_total_relation_size(name::regclass) FROM unnest(%s::text[]) AS name", [[*POINT_TABLES]])
            return dict(rows.fetchall())

    empty, full = sizes(databases.template), sizes(name)
    return {table: (full[table] - empty[table]) / points for table in POINT_TABLES}


def tell_sizes(report: Report, tree: Tree, sizes: dict[str, float]) -> None:
    total = sum(sizes.values())
    report.rows.append(row(f"on disk, {tree.points:,} points, {tree.steps:,} a series", **{"B/point": total}))
    report.rows += [row(f"  {table}", **{"B/point": size}) for table, size in sizes.items()]
    report.bars.append(Bar(f"{tree.points:,} points on disk, bytes a point", total, 8.0))


def warm(logdir: Path) -> None:
    """Have the files in the page cache, for the peer as for us."""
    for file in logdir.rglob("*tfevents*"):
        file.read_bytes()


if __name__ == "__main__":
    sys.exit(main())
