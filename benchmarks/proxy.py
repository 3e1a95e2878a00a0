"""What does the way through our proxy cost, against TensorBoard itself?

    python -m benchmarks.proxy [--json] [--quick]

A real TensorBoard, kept by the real supervisor in its sandbox; the real site (daphne) before it.  Direct is its own
unix socket, which nobody but the site reaches otherwise; direct and proxied requests take turns.  Asked for: a tiny
answer (/data/environment), what a page of time series asks for (5 runs), one of 6 MB.
Then 20 clients at once; the site's memory over 1,000 requests and over 500 MB from a server that says nothing else;
the time from asleep to the first page; what idle TensorBoards cost.
"""

from __future__ import annotations

import http.client
import json
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from benchmarks.common import Bar, Report, options
from benchmarks.database import MANAGE, ROOT, Databases
from benchmarks.fanout import site

QUESTION = "What does the way through our proxy cost, against TensorBoard itself?"
RUNS, STEPS = 5, 1000
ROOT_OF = "/tensorboard/bench"
#: The bars: times the direct median, times the direct throughput, bytes of the site's memory.
OF_SERIES, OF_LARGE, OF_TINY, THROUGHPUT, GROWTH = 1.3, 1.3, 2.0, 0.6, 12 << 20

MAKE = """
import json, sys
import django
django.setup()
from django.contrib.auth.models import Group, User
from django.test import Client
from runs.models import Source, Trainer
from streaming.models import TensorBoard
for name, root, mode in json.loads(sys.argv[1]):
    trainer = Trainer.objects.create(slug=name, name=name)
    if root:
        Source.objects.create(root=root, real_root=root, trainer=trainer)
    TensorBoard.objects.create(trainer=trainer, mode=mode)
user = User.objects.create_user("bench", password="x")
user.groups.add(Group.objects.get(name="operator"))
client = Client()
client.force_login(user, "runs.signing.Accounts")
print(client.cookies["sessionid"].value)
"""


def main() -> int:
    given = options(QUESTION)
    rounds, idle, large = (40, 2, 100) if given.quick else (300, 10, 500)
    report = Report(QUESTION)
    with Databases() as databases, databases.empty() as name, TemporaryDirectory() as folder:
        home = Path(folder)
        write(home / "logs", RUNS)
        boards = [("bench", str(home / "logs"), "always"), ("large", "", "stopped")]
        for number in range(idle):
            write(home / f"idle{number}", 1)
            boards.append((f"idle{number}", str(home / f"idle{number}"), "stopped"))
        env = databases.env(name) | {"TRAINMON_HOME": str(home), "TRAINMON_TB_RATE": "0", "REDIS_URL": ""}
        cookie = subprocess.run([sys.executable, "-c", MAKE, json.dumps(boards)], env=env, cwd=ROOT, check=True, text=True,
                                capture_output=True).stdout.strip()  # fmt: skip
        with databases.connect(name) as rows, site("trainmon.asgi", env) as (port, pid):
            ask = Ask(port, cookie)
            with supervisor(env) as kept:
                compare(report, ask, Direct(await_socket(rows, "bench")), pid, rounds)
                woken(report, ask, rows, 1 if given.quick else 5)
                idle_cost(report, rows, kept, idle)
            flat(report, ask, rows, pid, home / "large.sock", large << 20)
    return report.print(given.json)


def write(folder: Path, runs: int) -> None:
    """Event files with two tags each."""
    for number in range(runs):
        path = folder / f"run-{number:02}" / "events.out.tfevents.1790000000.bench.1.0"
        path.parent.mkdir(parents=True)
        writer = RecordWriter(path.open("wb"))
        writer.write(Event(wall_time=1.79e9, file_version="brain.Event:2").SerializeToString())
        for step in range(STEPS):
            values = [Summary.Value(tag=tag, simple_value=1 / (step + 1)) for tag in ("loss", "accuracy")]
            writer.write(Event(wall_time=1.79e9 + step, step=step, summary=Summary(value=values)).SerializeToString())
        writer.close()


@contextmanager
def supervisor(env: dict[str, str]) -> Iterator[int]:
    """The real one; its process."""
    process = subprocess.Popen([*MANAGE, "tensorboards"], env=env, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


# The two ways


@dataclass(frozen=True)
class Question:
    """Something that is asked again and again."""

    name: str
    path: str
    body: bytes | None = None


BODY = b"requests=" + json.dumps([{"plugin": "scalars", "tag": "loss"}]).encode()
TINIEST = Question("tiny (/data/environment)", "/data/environment")
SERIES = Question(f"time series of {RUNS} runs", "/data/plugin/timeseries/timeSeries", BODY)
SCRIPT = Question("large (index.js, not packed)", "/index.js")


class ByPath(http.client.HTTPConnection):
    """HTTP over a unix socket; TensorBoard ends each connection with its answer, so it is opened again."""

    def __init__(self, path: str) -> None:
        super().__init__("tensorboard", timeout=120)
        self.path = path

    def connect(self) -> None:
        """Open it."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


class Direct:
    """TensorBoard's own socket."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.headers: dict[str, str] = {"Accept-Encoding": "identity"}

    def connect(self) -> http.client.HTTPConnection:
        """A client of it."""
        return ByPath(self.path)


class Ask(Direct):
    """The same through the site."""

    def __init__(self, port: int, cookie: str) -> None:
        self.port = port
        self.headers = {"Accept-Encoding": "identity", "Cookie": f"sessionid={cookie}", "Origin": f"http://127.0.0.1:{port}"}

    def connect(self) -> http.client.HTTPConnection:
        """A client of the site, whose connection is kept."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)


def asked(client: http.client.HTTPConnection, way: Direct, question: Question, root: str = ROOT_OF) -> tuple[int, int]:
    """One answer: its status and bytes."""
    kind = {"Content-Type": "application/x-www-form-urlencoded"} if question.body else {}
    client.request("POST" if question.body else "GET", root + question.path, question.body, way.headers | kind)
    answer = client.getresponse()
    size = 0
    while piece := answer.read(1 << 20):
        size += len(piece)
    return answer.status, size


def compare(report: Report, proxied: Ask, direct: Direct, pid: int, rounds: int) -> None:
    """Medians of each question by turns, the throughput of many clients, and the site's memory meanwhile."""
    questions = (TINIEST, OF_TINY, rounds), (SERIES, OF_SERIES, rounds), (SCRIPT, OF_LARGE, max(10, rounds // 5))
    for question, limit, times in questions:
        taken, size = by_turns((direct, proxied), question, times)
        ways = [statistics.median(one) * 1000 for one in taken]
        row(report, question.name, f"{size} B", ways)
        report.bars.append(Bar(f"{question.name}: times the direct median", ways[1] / ways[0], limit))
    rates = [statistics.median(one) for one in zip(*(
        [throughput(way, SERIES, 20, max(60, rounds)) for way in (direct, proxied)] for _ in range(3)), strict=True)]  # fmt: skip
    row(report, "20 clients, time series", "requests/s", rates)
    report.bars.append(Bar("20 clients: direct throughput over ours", rates[0] / rates[1], 1 / THROUGHPUT))
    site_process = psutil.Process(pid)
    before = site_process.memory_info().rss
    throughput(proxied, TINIEST, 4, 1000)
    growth = site_process.memory_info().rss - before
    row(report, "site's memory over 1,000 requests", "MB more", [None, growth / 1e6])
    report.bars.append(Bar("bytes that the site grew by over 1,000 requests", growth, GROWTH))


def row(report: Report, what: str, of: str, ways: list[float | None] | list[float]) -> None:
    """A line of the table."""
    report.rows.append({"what": what, "of": of, "direct": ways[0] if ways[0] is not None else "", "proxied": ways[1]})


def by_turns(ways: tuple[Direct, ...], question: Question, times: int) -> tuple[list[list[float]], int]:
    """Seconds of each way, one after the other again and again, and the bytes of an answer."""
    clients = [way.connect() for way in ways]
    taken: list[list[float]] = [[] for _ in ways]
    size = 0
    for turn in range(times + 5):
        for number, (client, way) in enumerate(zip(clients, ways, strict=True)):
            began = time.perf_counter()
            status, size = asked(client, way, question)
            assert status == 200, status
            if turn >= 5:  # the first ones open connections
                taken[number].append(time.perf_counter() - began)
    return taken, size


def throughput(way: Direct, question: Question, clients: int, requests: int) -> float:
    """Answers a second of so many clients at once."""
    def work() -> None:
        client = way.connect()
        for _ in range(requests // clients):
            assert asked(client, way, question)[0] == 200

    threads = [threading.Thread(target=work) for _ in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return (requests // clients) * clients / (time.perf_counter() - began)


# States


def await_socket(rows: Any, slug: str) -> str:
    """The socket of a TensorBoard that runs and has read its logs."""
    socket_of = until(lambda: state(rows, slug)[0] == "running" and state(rows, slug)[1])
    way = Direct(socket_of)
    until(lambda: asked(way.connect(), way, SERIES)[1] > RUNS * STEPS * 10, 120)
    return socket_of


def state(rows: Any, slug: str) -> tuple[str, str]:
    """How it stands, and its socket."""
    said = "SELECT state, socket FROM streaming_tensorboard b JOIN runs_trainer t ON t.id = b.trainer_id WHERE t.slug = %s"
    found: tuple[str, str] = rows.execute(said, [slug]).fetchone()
    return found


def wish(rows: Any, slug: str, **fields: Any) -> None:
    """Write a row."""
    names = ", ".join(f"{name} = %({name})s" for name in fields)
    trainer = "(SELECT id FROM runs_trainer WHERE slug = %(slug)s)"
    rows.execute(f"UPDATE streaming_tensorboard SET {names} WHERE trainer_id = {trainer}", fields | {"slug": slug})


def until(holds: Callable[[], Any], seconds: float = 60) -> Any:
    """What comes to hold."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, "it never came to hold"
        time.sleep(0.05)
    return found


def woken(report: Report, ask: Ask, rows: Any, times: int) -> None:
    """Seconds from the first visit of one that sleeps to TensorBoard's own page."""
    taken = []
    for _ in range(times):
        wish(rows, "bench", mode="demand", visited=None)
        until(lambda: state(rows, "bench")[0] == "asleep")
        began = time.perf_counter()
        until(lambda: asked(ask.connect(), ask, Question("page", "/"))[0] == 200)
        taken.append(time.perf_counter() - began)
    row(report, "from asleep to the first page", "s", [None, statistics.median(taken)])


def idle_cost(report: Report, rows: Any, kept: int, count: int) -> None:
    """Memory and processor of TensorBoards that nobody asks anything."""
    wish(rows, "bench", mode="stopped")
    until(lambda: state(rows, "bench")[0] == "stopped")
    alone = tree(kept)
    for number in range(count):
        wish(rows, f"idle{number}", mode="always")
    until(lambda: all(state(rows, f"idle{number}")[0] == "running" for number in range(count)), 180)
    time.sleep(15)
    memory, began = tree(kept), time.monotonic()
    time.sleep(20)
    later = tree(kept)
    row(report, "an idle TensorBoard", "MB", [None, (memory[0] - alone[0]) / count / 1e6])
    row(report, "an idle TensorBoard", "% of a core", [None, (later[1] - memory[1]) / (time.monotonic() - began) / count * 100])


def tree(pid: int) -> tuple[int, float]:
    """Bytes (shared ones divided among those that share) and processor seconds of a process and all below it."""
    memory, cpu = 0, 0.0
    top = psutil.Process(pid)
    for one in (top, *top.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            memory += one.memory_full_info().pss
            times = one.cpu_times()
            cpu += times.user + times.system
    return memory, cpu


def flat(report: Report, ask: Ask, rows: Any, pid: int, path: Path, size: int) -> None:
    """The site's memory while it hands on one large answer."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        threading.Thread(target=speak, args=(listener, size), daemon=True).start()
        wish(rows, "large", mode="always", state="running", socket=str(path))
        client, site_process = ask.connect(), psutil.Process(pid)
        before, most, got = site_process.memory_info().rss, 0, 0
        client.request("GET", "/tensorboard/large/data/runs", headers=ask.headers)
        answer = client.getresponse()
        began = time.perf_counter()
        while piece := answer.read(1 << 20):
            got += len(piece)
            most = max(most, site_process.memory_info().rss)
        assert got == size, (answer.status, got)
    row(report, f"an answer of {size >> 20} MiB", "MB/s", [None, size / 1e6 / (time.perf_counter() - began)])
    row(report, f"site's memory over {size >> 20} MiB", "MB more", [None, (most - before) / 1e6])
    report.bars.append(Bar("bytes that the site grew by over one large answer", most - before, GROWTH))


def speak(listener: socket.socket, size: int) -> None:
    """Answer one request with so many bytes."""
    caller, _ = listener.accept()
    with caller:
        caller.recv(65536)
        caller.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size >> 20):
            caller.sendall(bytes(1 << 20))


if __name__ == "__main__":
    sys.exit(main())
