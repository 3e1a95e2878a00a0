"""How long does a list of runs take, filtered by one metric and sorted by another?

    python -m benchmarks.runlist [--json] [--quick]

10,000 and 100,000 runs of 50 metrics each, made by SQL in a database of their own; a user who
sees 5 of 10 trainers asks for 50 runs with 10 columns, of which 4 are metrics, where one metric
is below a bound that 0.5 % or 50 % of the runs keep, sorted by another metric.  Each request
goes through the whole site in process (Django's test client: session, access, query, JSON or
HTML with 50 sparklines); the limit on calls a minute is lifted, not left out.  Times are wall
milliseconds, after ten requests that are not counted; p50 of 60, each with another bound, and of three
such rounds, between which the others are asked, the quickest: a shared machine slows down for a minute
and only ever adds.  The peer is asked in three rounds too.  CPU is that
of the web process and of PostgreSQL's processes together, the mean of a request: what a busy machine
does to the wall times, it does not do to these.

The peer is MLflow's own store on the same PostgreSQL (``make bench-peers`` installs it):
``search_runs`` in five of ten experiments, the same values, filter and order, 50 runs.  It is
called directly, without HTTP, authentication or JSON, which we pay for and it does not.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from benchmarks.common import DATA, Bar, Report, cpu_of, options
from benchmarks.database import ROOT, Databases
from benchmarks.manyruns import fill, metric, scale

QUESTION = "How long does a list of runs take, filtered by one metric and sorted by another?"
FILTERED, SORTED, SHOWN = 8, 9, (2, 3, 4, 5)
SHARES = {"0.5 %": 0.005, "50 %": 0.5}
PEERS = DATA / "peers" / "bin" / "python"
#: Milliseconds for 10,000 runs; ten times as many may take twice as long.
BARS = {"API": 25, "page": 60, "totals": 100}
FEW = 10_000
#: Requests before those that count.
WARM = 10
#: Rounds of everything, of which the quickest counts.
ROUNDS = 3


def main() -> int:
    given = options(QUESTION)
    report = Report(QUESTION)
    rounds = 10 if given.quick else 60
    with Databases() as databases:
        for runs in [2000] if given.quick else [FEW, 10 * FEW]:
            with databases.empty() as name:
                env = databases.env(name) | {"TRAINMON_API_RATE": "1000000,1000000,1000000"}
                measured = _child([sys.executable, "-m", "benchmarks.runlist", "measure", str(runs), str(rounds)], env)
            report.rows += measured
            factor = 2 if runs > FEW else 1
            report.bars += [
                Bar(f"{row['what']}, {row['filter']} of {row['runs']:,} runs, p50 ms", row["p50 ms"], BARS[row["what"]] * factor)
                for row in measured if row["what"] in BARS
            ]
        if PEERS.exists():
            report.rows += _peer(databases, 2000 if given.quick else FEW, rounds)
        else:
            print("make bench-peers installs MLflow to compare with", file=sys.stderr)
    return report.print(given.json)


def _child(command: list[str], env: dict[str, str]) -> list[dict[str, Any]]:
    done = subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.PIPE, text=True)
    rows: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return rows


def _peer(databases: Databases, runs: int, rounds: int) -> list[dict[str, Any]]:
    """MLflow in a database of its own, which its own migrations fill with tables."""
    with databases.bare() as name:
        asked = {share: [_below(part, n) for n in range(rounds // 4 or 1)] for share, part in SHARES.items()}
        given = json.dumps({"runs": runs, "asked": asked, "rounds": ROUNDS, "metric": metric(FILTERED), "sort": metric(SORTED)})
        env = databases.env(name)
        return _child([str(PEERS), str(ROOT / "benchmarks" / "mlflow_peer.py"), given], env)


def _below(share: float, number: int) -> float:
    """A bound that about this share keeps; each request has another, so that none repeats another's answer."""
    return share * scale(FILTERED) * (1 + number / 10_000)


def measure(runs: int, rounds: int) -> list[dict[str, Any]]:
    """Fill the database of the settings, where it is empty, and ask the site for lists."""
    import django

    django.setup()
    from runs.models import Run

    if not Run.objects.exists():
        fill(runs)
    from django.contrib.auth.models import User
    from django.test import Client

    client = Client(SERVER_NAME="localhost")
    client.force_login(User.objects.get(username="someone"), backend="runs.signing.Accounts")
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for _ in range(ROUNDS):
        for what, path in (("API", "/api/runs/"), ("page", "/runs/"), ("totals", "/api/runs/totals/")):
            for share, part in SHARES.items():
                addresses = (f"{path}?{_query(part, n, whole=what != 'totals')}" for n in range(rounds + WARM))
                _keep(rows, {"what": what, "filter": share, "runs": runs, **_timed(addresses, client.get)})
        newest = _timed(("/runs/" for _ in range(rounds + WARM)), client.get)
        _keep(rows, {"what": "the newest, page", "filter": "none", "runs": runs, **newest})
    return list(rows.values())


def _keep(rows: dict[tuple[str, str], dict[str, Any]], row: dict[str, Any]) -> None:
    """The quicker of two rounds of the same question."""
    known = rows.setdefault((row["what"], row["filter"]), row)
    if row["p50 ms"] < known["p50 ms"]:
        rows[row["what"], row["filter"]] = row


def _query(share: float, number: int, *, whole: bool) -> str:
    columns = ["status", "name", "dataset", "step", "duration", "size", *(f"last({metric(n)})" for n in SHOWN)]
    asked: dict[str, Any] = {"metric": f"{metric(FILTERED)}<{_below(share, number)!r}"}
    if whole:
        asked |= {"sort": f"last({metric(SORTED)})", "column": columns, "limit": 50}
    return urlencode(asked, doseq=True)


def _timed(addresses: Iterator[str], get: Callable[[str], Any]) -> dict[str, Any]:
    taken: list[float] = []
    cpu = 0.0
    for number, address in enumerate(addresses):
        if number == WARM:
            cpu = _cpu()
        began = time.perf_counter()
        answer = get(address)
        spent = (time.perf_counter() - began) * 1000
        if answer.status_code != 200:
            sys.exit(f"{address} answered {answer.status_code}: {answer.content[:500]!r}")
        if number >= WARM:
            taken.append(spent)
    return {"p50 ms": statistics.median(taken), "p95 ms": sorted(taken)[int(len(taken) * 0.95)],
            "CPU ms": (_cpu() - cpu) * 1000 / len(taken), "requests": len(taken)}


def _cpu() -> float:
    """CPU seconds so far of this process and of its connections' processes in PostgreSQL, where that runs here."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND client_port IS NOT NULL")
        pids = [pid for (pid,) in cursor.fetchall()]
    return time.process_time() + sum(cpu_of(pid) for pid in pids if Path(f"/proc/{pid}").exists())


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trainmon.settings")
        print(json.dumps(measure(int(sys.argv[2]), int(sys.argv[3]))))
    else:
        sys.exit(main())
