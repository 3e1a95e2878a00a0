"""How long does it take to say what a cleanup of 10,000 runs would do?

    python -m benchmarks.plan [--json] [--quick]

10,000 runs of ten files below ten sources, all in the registry and quiet since yesterday; the
folders are in the kernel's cache, as after the sync that found them.  A plan is the query of the
candidates and the draft: what protects each run, a stat of each file and folder, the digest of
all that the confirmation covers.  No file is opened.  The peers do nothing but the stats: `du`,
and `find -printf` of what the digest is made of.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import DATA, Bar, Report, options
from benchmarks.database import ROOT, Databases
from benchmarks.manyruns import TRAINERS

QUESTION = "How long does it take to say what a cleanup of 10,000 runs would do?"
FILES, ROUNDS = 10, 5
LIMIT = 2.0


def main() -> int:
    given = options(QUESTION)
    runs = 1000 if given.quick else 10_000
    tree = _planted(runs)
    report = Report(QUESTION)
    with Databases() as databases, databases.empty() as name:
        command = [sys.executable, "-m", "benchmarks.plan", "measure", str(runs), str(tree)]
        done = subprocess.run(command, cwd=ROOT, env=databases.env(name), check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    for what, peer in (("du -s", ["du", "-s", "."]), ("find -printf", ["find", ".", "-printf", "%p %i %D %s %T@ %m\n"])):
        def walk(command: list[str] = peer) -> object:
            return subprocess.run(command, cwd=tree, check=True, stdout=subprocess.DEVNULL)

        report.rows.append({"what": f"peer: {what}", "runs": runs, "files": runs * FILES, "s": _quickest(walk), "CPU s": ""})
    report.rows.insert(0, {"what": "plan"} | found)
    report.bars.append(Bar("plan, s", found["s"], LIMIT))
    shutil.rmtree(tree)
    return report.print(given.json)


def measure(runs: int, tree: Path) -> dict[str, Any]:
    """Fill the database of the settings with runs whose folders lie there, and plan to clean up all of them."""
    import django

    django.setup()
    from django.utils.timezone import now

    from benchmarks.manyruns import fill
    from retention.candidates import candidates
    from retention.plan import Draft, Options, draft
    from runs.models import Run, Source

    fill(runs)
    for source in Source.objects.all():
        Source.objects.filter(pk=source.pk).update(root=f"{tree}/{source.root.rpartition('/')[2]}")
    made: list[Draft] = []

    def plan() -> None:
        wanted = [(one, "chosen by hand") for one in candidates(Run.objects.all())]
        made[:] = [draft(wanted, Options(), now())]
        assert made[0].token

    plan()
    cpu = time.process_time()
    seconds = _quickest(plan)
    cpu = (time.process_time() - cpu) / (ROUNDS + 1)
    going = [one for one in made[0].chosen if not one.refusal]
    assert len(going) > runs * 0.9, made[0].staying[:3]
    return {"runs": len(going), "files": made[0].total("files"), "s": seconds, "CPU s": cpu}


def _quickest(work: Callable[[], object]) -> float:
    """Seconds of the quickest of several rounds; the first that is not counted warms the caches."""
    work()
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return min(taken)


def _planted(runs: int) -> Path:
    """The folders of the runs that `manyruns` makes, last touched yesterday."""
    tree = DATA / "plan"
    shutil.rmtree(tree, ignore_errors=True)
    yesterday = time.time() - 86400
    for number in range(1, runs + 1):
        folder = tree / str(number % TRAINERS) / f"run-{number}"
        folder.mkdir(parents=True)
        for file in range(FILES):
            (folder / f"events.out.tfevents.{file}").write_bytes(b"x" * 100)
            os.utime(folder / f"events.out.tfevents.{file}", (yesterday, yesterday))
        os.utime(folder, (yesterday, yesterday))
    return tree


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trainmon.settings")
        print(json.dumps(measure(int(sys.argv[2]), Path(sys.argv[3]))))
    else:
        sys.exit(main())
