"""How long does a change of a run take to reach 500 pages that show it?

    python -m benchmarks.fanout [--json] [--quick]

500 sockets (5 users, 100 each) of one daphne show the header and the figures of one run; another process
commits 20 changes a second for 20 s, each told over a real Valkey.  Of each change and socket counts the time
from commit to the first frame that holds its version or a later one, by one clock; ``not last`` are sockets
that ended at another version than the last, ``never %`` changes that had come to a socket in no form when it
ended, three seconds after the last one.  Memory is what the web process grew by while they opened.

The peer is what Channels does by itself: the same daphne and Valkey, a group with a channel for each socket,
and a message of the same size for each change (benchmarks/grouped.py); nothing is rendered and nobody's
permission asked.  It sends each change to each socket, 10,000 messages a second: more than it can, so that its
queues run over and what it was told last is what it drops.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.common import Bar, Report, cpu_of, options
from benchmarks.database import ROOT, Databases

QUESTION = "How long does a change of a run take to reach 500 pages that show it?"
RATE = 20
USERS = 5


def main() -> int:
    given = options(QUESTION)
    sockets, seconds = (100, 5) if given.quick else (500, 20)
    report = Report(QUESTION)
    with Databases() as databases, databases.empty() as name, TemporaryDirectory() as folder, valkey(Path(folder)) as bus:
        env = {**databases.env(name), "REDIS_URL": bus, "TRAINMON_SECRET_KEY": "x" * 50, "TRAINMON_HOME": folder}
        for what, application in (("trainmon", "trainmon.asgi"), ("Channels' groups", "benchmarks.grouped")):
            report.rows.append(measured(what, application, env, sockets, seconds))
    mine = report.rows[0]
    report.bars = [Bar("p99 ms", mine["p99 ms"], 500), Bar("sockets without the last state", mine["not last"], 0),
                   Bar("changes that never came, %", mine["never %"], 0), Bar("kB a socket", mine["kB a socket"], 200)]
    return report.print(given.json)


def measured(what: str, application: str, env: dict[str, str], sockets: int, seconds: int) -> dict[str, Any]:
    """One row: all sockets on one site."""
    writer = [sys.executable, "-m", "benchmarks.fanout", "change" if application == "trainmon.asgi" else "send"]
    made = json.loads(subprocess.run([sys.executable, "-m", "benchmarks.fanout", "make"], env=env, cwd=ROOT, check=True,
                                     capture_output=True, text=True).stdout)
    says = json.dumps({"watch": [{"kind": kind, "id": made["run"]} for kind in ("run-head", "run-figures")]})
    with site(application, env) as (port, web):
        cookies = [made["cookies"][number % USERS] for number in range(sockets)]
        opening = [sys.executable, "-m", "benchmarks.listeners", str(port), "/ws/live/", says]
        # what the first one loads is no memory of a socket
        subprocess.run([*opening, cookies[0]], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=ROOT, check=True)
        before = memory(web)
        listening = [
            subprocess.Popen([*opening, *cookies[half::2]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
            for half in range(2)
        ]
        for process in listening:
            assert process.stdout and process.stdout.readline() == "open\n"
        grown, cpu, begun = memory(web) - before, cpu_of(web), time.monotonic()
        done = subprocess.run([*writer, str(made["run"]), str(seconds)], env=env, cwd=ROOT, check=True, capture_output=True,
                              text=True)
        commits: dict[int, float] = {int(version): at for version, at in json.loads(done.stdout)}
        cpu, took = cpu_of(web) - cpu, time.monotonic() - begun
        time.sleep(3)  # for the last state
        found = [json.loads(process.communicate()[0]) for process in listening]
    seen = [one for half in found for one in half["seen"]]
    delays = sorted(delay for one in seen for delay in delays_of(commits, one))
    never = 1 - len(delays) / (len(commits) * len(seen))
    last = max(commits)
    return {
        "what": what, "sockets": len(seen), "changes": len(commits), "a second": len(commits) / took,
        "p50 ms": statistics.median(delays), "p99 ms": delays[int(len(delays) * 0.99)], "max ms": delays[-1],
        "never %": 100 * never, "frames": sum(len(one) for one in seen) // len(seen),
        "not last": sum(one[-1][0] != last for one in seen),
        "closed": sum(half["closed"] for half in found), "kB a socket": grown / sockets / 1024, "CPU of the web": cpu / took,
    }  # fmt: skip


def delays_of(commits: dict[int, float], seen: list[tuple[int, float]]) -> Iterator[float]:
    """Milliseconds of each change until a socket had it or a later one; none for those that never came."""
    frames = iter(sorted(((one[0], one[1]) for one in seen), key=lambda one: one[1]))
    at: tuple[int, float] | None = next(frames, None)
    for version, committed in sorted(commits.items()):
        while at is not None and at[0] < version:
            at = next(frames, None)
        if at is not None:
            yield (at[1] - committed) * 1000


def memory(pid: int) -> int:
    """Resident bytes of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def valkey(home: Path) -> Iterator[str]:
    """A Valkey of the benchmark's own."""
    from trainmon.embedded import binaries
    from trainmon.embedded.places import Places
    from trainmon.embedded.valkey import answers, command

    places, program = Places(home), binaries.valkey_server()
    assert program is not None, "no Valkey for this platform"
    places.sockets.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(command(program, places), stdout=subprocess.DEVNULL)
    try:
        while not answers(places):
            time.sleep(0.05)
        yield f"unix://{places.valkey_socket}"
    finally:
        process.kill()
        process.wait()


@contextmanager
def site(application: str, env: dict[str, str]) -> Iterator[tuple[int, int]]:
    """A daphne; its port and process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", str(port), f"{application}:application"]
    process = subprocess.Popen(command, env=env, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with socket.socket() as client:
            while client.connect_ex(("127.0.0.1", port)):
                assert process.poll() is None, "daphne has ended"
                time.sleep(0.1)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(20)


# In processes of their own, on the database


def make() -> None:
    """Users with sessions, and a run with ten metrics; prints what the others need."""
    from django.contrib.auth.models import User
    from django.test import Client

    from runs.models import Run, Series, Source, Tag, Trainer

    trainer, _ = Trainer.objects.get_or_create(slug="fanout", defaults={"name": "fanout"})
    source, _ = Source.objects.get_or_create(root="/fanout", defaults={"trainer": trainer})
    number = Run.objects.count()
    run = Run.objects.create(source=source, name=f"run {number}", path=b"run %d" % number, status="running", total_steps=100_000)
    for name in range(10):
        Series.objects.create(run=run, tag=Tag.objects.get_or_create(name=f"metric/{name}")[0], count=10, last=1.0)
    cookies = []
    for user in range(USERS):
        client = Client()
        client.force_login(User.objects.get_or_create(username=f"user-{user}")[0], backend="runs.signing.Accounts")
        cookies.append(f"sessionid={client.cookies['sessionid'].value}")
    print(json.dumps({"run": run.pk, "cookies": cookies}))


def change(run: int, seconds: int) -> None:
    """Commit changes of the run, as a follower does; prints [version, when it was committed] of each."""
    from django.db import transaction

    from runs import signals
    from runs.models import Run
    from streaming.publish import flush

    commits: list[tuple[int, float]] = []
    begun = time.monotonic()
    for number in range(RATE * seconds):
        time.sleep(max(0.0, begun + number / RATE - time.monotonic()))
        with transaction.atomic():
            row = Run.objects.select_for_update().get(pk=run)
            row.version, row.step = row.version + 1, number
            row.save(update_fields=["version", "step"])
            transaction.on_commit(partial(committed, commits, row.version))
            signals.tell(runs={run: row.version})
    flush()
    print(json.dumps(commits))


def committed(commits: list[tuple[int, float]], version: int) -> None:
    """Note when a version was there."""
    commits.append((version, time.monotonic()))


def send(seconds: int) -> None:
    """What ``change`` does, by Channels' own group."""
    import asyncio

    from channels.layers import get_channel_layer

    async def sent() -> list[tuple[int, float]]:
        layer: Any = get_channel_layer()
        commits = []
        begun = time.monotonic()
        for number in range(1, RATE * seconds + 1):
            await asyncio.sleep(max(0.0, begun + number / RATE - time.monotonic()))
            commits.append((number, time.monotonic()))
            await layer.group_send("fanout", {"type": "changed", "text": json.dumps({"version": number, "html": "x" * 3000})})
        return commits

    print(json.dumps(asyncio.run(sent())))


if __name__ == "__main__":
    if sys.argv[1:2] in (["make"], ["change"], ["send"]):
        import django

        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trainmon.settings")
        django.setup()
        if sys.argv[1] == "make":
            make()
        elif sys.argv[1] == "change":
            change(int(sys.argv[2]), int(sys.argv[3]))
        else:
            send(int(sys.argv[3]))
    else:
        sys.exit(main())
