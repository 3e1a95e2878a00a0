#!/usr/bin/env python3
"""Push a training's events and files to trainmon, from a machine that shares no volume with it.

One file, Python 3.8 or newer, nothing but the standard library: copy it beside your trainer.

    from trainmon_client import Client

    client = Client("https://trainmon.example.org", token, run="mnist/first", job="train-7", spool="/var/tmp/trainmon")
    client.log("training.start", "Training", total_steps=1000, config={"lr": 0.1})
    client.step(10, total_steps=1000, loss=0.7, lr=0.1)
    client.ship("/scratch/mnist/first")          # its event files, as they grow
    if client.cancelled:                         # somebody pressed Cancel
        client.log("job.cancelled", "Stopped")
    client.close()

Training never waits for trainmon and never fails on it.  A call writes one line to a file in ``spool`` and returns;
a thread sends what lies there, again and again until it was taken.  What a killed process leaves there, the next
one sends; each event has an id, so that trainmon counts it once.  When the spool is full (``max_spool`` bytes),
steps are left out first; what was left out is counted and told.  Use a spool folder for one token only.

Without touching a trainer, from a shell (the token is in TRAINMON_TOKEN):

    python trainmon_client.py https://trainmon.example.org --spool DIR                     # send what is left there
    python trainmon_client.py https://trainmon.example.org --run mnist/first --ship DIR [--follow]
"""

import argparse
import atexit
import getpass
import hashlib
import http.client
import json
import logging
import os
import random
import re
import sys
import tempfile
import threading
import time
import uuid
import weakref
from collections import deque
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Deque, Dict, Iterator, List, Optional, Tuple, Union
from urllib.parse import quote, urlencode, urlsplit

try:
    import fcntl
except ImportError:  # Windows: two processes may then send the same, which is counted once
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger("trainmon_client")

#: Bytes of a file of the spool, records and bytes of a batch, bytes of a piece of a file.
SEGMENT, RECORDS, BATCH, PIECE = 1 << 20, 500, 1 << 20, 1 << 20
#: Seconds between two looks at what is to be sent, at shipped files, and between two questions whether to stop.
EVERY, SHIP_EVERY, ASK_EVERY = 0.5, 2.0, 10.0
#: Seconds to wait for an answer, after a failure at first and at most, and after a refusal at least.
ANSWER, PAUSE, LONGEST_PAUSE, REFUSED_PAUSE = 15.0, 1.0, 60.0, 30.0
TAIL = 1 << 16


class Later(Exception):
    """Not now: the server is away, full or does not want us; ``after`` seconds is when to try again."""

    def __init__(self, why: str, after: float = 0.0) -> None:
        super().__init__(why)
        self.after = after


class Server:
    """One connection to trainmon; redirects are not followed, so that the token goes nowhere else."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("Give trainmon's address, as https://trainmon.example.org")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self.connection = kind(parts.hostname, parts.port, timeout=ANSWER)
        self.base = parts.path.rstrip("/") + "/api/ingest/"
        self.headers = {"Authorization": "Bearer " + token, "Accept": "application/json"}

    def ask(self, method: str, path: str, body: bytes = b"", kind: str = "application/json") -> Tuple[int, Dict[str, Any], Any]:
        """Status, JSON and headers of an answer; Later where it is one to wait for."""
        try:
            answer, data = self._exchange(method, self.base + path, body, {**self.headers, "Content-Type": kind})
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            raise Later("no answer: %s" % (str(error) or type(error).__name__)) from None
        try:
            told = json.loads(data) if data else {}
        except ValueError:
            told = {}
        told = told if isinstance(told, dict) else {}
        if answer.status in (401, 403, 404, 405) or 300 <= answer.status < 400:
            raise Later("refused (%d): %s" % (answer.status, told.get("detail", answer.reason)), REFUSED_PAUSE)
        if answer.status == 429 or answer.status >= 500:
            wait = answer.headers.get("Retry-After", "")
            why = "%d: %s" % (answer.status, told.get("detail", answer.reason))
            raise Later(why, min(int(wait), 3600) if wait.isdigit() else 0.0)
        return answer.status, told, answer.headers

    def _exchange(self, *request: Any) -> Tuple[Any, bytes]:
        kept = self.connection.sock is not None
        try:
            self.connection.request(*request)
            answer = self.connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionError):
            self.connection.close()
            if not kept:
                raise
            self.connection.request(*request)  # it had been closed while we had nothing to say
            answer = self.connection.getresponse()
        return answer, answer.read()


class Spool:
    """Files of lines in a folder: written by the trainer's threads, read and removed by the sender's.

    A file belongs to the process that wrote it, which holds a lock on it while it lives.
    """

    def __init__(self, folder: Path, run: str, limit: int) -> None:
        self.folder, self.run, self.limit = folder, run, limit
        self.fd, self.name, self.size, self.torn = -1, "", 0, False
        self.total, self.summed = 0, -1e9
        self.memory: Deque[bytes] = deque(maxlen=10_000)
        self.broken_until = 0.0
        self.mine: List[Path] = []

    def put(self, line: bytes, important: bool) -> bool:
        """Keep a line (without its end); False where there is no room."""
        if time.monotonic() >= self.broken_until:
            try:
                return self.write(line, self.limit * (1.1 if important else 1.0))
            except OSError:
                self.end()
                self.broken_until = time.monotonic() + 5
        self.memory.append(line)  # the disk is full: as long as we live it may still be sent
        return len(self.memory) < (self.memory.maxlen or 0)

    def write(self, line: bytes, room: float) -> bool:
        """Append a line to our file; OSError where the disk does not take it."""
        if self.total + self.size + len(line) > room:
            self.end()
            self.sum_up(1.0)
            if self.total + len(line) > room:
                return False
        if self.fd < 0 or self.size > SEGMENT:
            self.begin()
        data = (b"\n" if self.torn else b"") + line + b"\n"
        written = os.write(self.fd, data)
        self.size += written
        self.torn = written < len(data)
        if self.torn:
            raise OSError("the disk is full")
        return True

    def begin(self) -> None:
        """Another file; its first line says whose events they are.

        It is locked before a sender can see it: one that is not is taken for a dead process's, and removed.
        """
        self.end()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.sum_up(0.0)
        self.name = "%020d-%d-%s.jsonl" % (time.time_ns(), os.getpid(), uuid.uuid4().hex[:8])
        path = self.folder / self.name
        hidden = self.folder / ("new-" + self.name) if fcntl else path  # Windows renames no open file
        self.fd = os.open(str(hidden), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            if fcntl:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.size, self.torn = os.write(self.fd, json.dumps({"run": self.run}).encode() + b"\n"), False
            if fcntl:
                hidden.rename(path)
        except OSError:
            hidden.unlink()
            raise
        self.mine.append(path)

    def end(self) -> None:
        """Write no more to this file."""
        if self.fd >= 0:
            os.close(self.fd)
        self.fd, self.name, self.size = -1, "", 0

    def sum_up(self, every: float) -> None:
        """Look how much lies in the folder beside the file that is being written."""
        if time.monotonic() - self.summed > every:
            self.summed = time.monotonic()
            self.total = sum(path.stat().st_size for path in self.files() if path.name != self.name)

    def files(self) -> List[Path]:
        """All files of the folder, the oldest first."""
        try:
            return sorted(path for path in self.folder.iterdir() if path.name.endswith(".jsonl") and path.name[0].isdigit())
        except OSError:
            return []

    def is_over(self, path: Path) -> bool:
        """Whether nobody will write to this file any more."""
        if path.name == self.name:
            return False
        if not fcntl:
            return True
        try:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


class Client:
    """Events and files of one job, sent in the background.  No method raises or waits for the network, but close."""

    def __init__(
        self, url: str, token: str, *, run: str, job: str, spool: Union[str, Path], service: str = "worker",
        max_spool: int = 256 << 20,
    ) -> None:
        self.server = Server(url, token)
        self.run, self.service = run, service
        self.job = re.sub(r"[^A-Za-z0-9_-]", "-", job)[:200] or "job"
        # what is left for another server stays there
        self.spool = Spool(Path(spool) / hashlib.sha256(url.encode()).hexdigest()[:12], run, max_spool)
        self.dropped, self.rejected, self.last_error = 0, 0, ""
        self._files: Dict[Path, Dict[str, Any]] = {}
        self._sent: Dict[str, int] = {}
        self._cancelled = threading.Event()
        self._due_ship = self._due_ask = 0.0
        self._told = 0
        self._forked()
        here = weakref.ref(self)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=lambda: _do(here, "_forked"))
        atexit.register(lambda: _do(here, "close", 3.0))

    def _forked(self) -> None:
        """In a new process: other ids, another file, and a thread of its own once it says something."""
        self._lock, self._wake, self._closing = threading.RLock(), threading.Event(), threading.Event()
        self.shipped: List[Tuple[Path, str]] = []
        self._prefix, self._count = uuid.uuid4().hex, 0
        self._thread: Optional[threading.Thread] = None
        self._given_up = self._idle = False
        self.spool.end()
        self.spool.mine = []
        self.spool.memory.clear()
        self.server.connection.close()

    # For the trainer

    def log(self, event: str, message: str = "", level: str = "INFO", **fields: Any) -> None:
        """One line of the job's log."""
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self.record({"ts": now, "level": level, "service": self.service, "job_id": self.job, "msg": message, "event": event,
                     "fields": fields})

    def step(self, step: int, message: str = "", **fields: Any) -> None:
        """A step, with its figures."""
        self.log("training.step", message or "Step %d" % step, "DEBUG", step=step, **fields)

    def record(self, record: Dict[str, Any]) -> None:
        """A ready line, as trainmon's schema has it; without an ``event_id`` it gets one."""
        try:
            with self._lock:
                self._count += 1
                whole = {"event_id": "%s:%d" % (self._prefix, self._count), **record}
                line = json.dumps(whole, default=_plain, separators=(",", ":")).encode()
                self.dropped += not self.spool.put(line, record.get("level") != "DEBUG")
                self._start()
        except Exception as error:  # whatever it was: training goes on
            self.dropped += 1
            self.last_error = repr(error)
        self._wake.set()

    def ship(self, folder: Union[str, Path], pattern: str = "*tfevents*") -> None:
        """Send the files below ``folder`` whose names fit, and what is appended to them."""
        self.shipped.append((Path(folder), pattern))
        self._start()

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked this job to end: say ``job.cancelled`` when it has."""
        return self._cancelled.is_set()

    def close(self, timeout: float = 10.0) -> bool:
        """Send what is left for at most so many seconds; True where all was taken.  The rest stays in the spool."""
        with self._lock:
            self.spool.end()
            if self.shipped or self.spool.files() or self.spool.memory:
                self._start()
            thread = self._thread
            self._closing.set()
        self._wake.set()
        if thread is not None:
            thread.join(timeout)
        self._given_up = True
        return thread is None or self._idle

    # In the background

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and not self._closing.is_set():
                self._thread = threading.Thread(target=self._work, name="trainmon", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        failures = 0
        while not self._given_up:
            closing = self._closing.is_set()
            if closing:
                with self._lock:
                    self.spool.end()  # what is told now goes to a file that is over, too
            try:
                if self._send() and self._ship(closing) and closing:
                    self._idle = True
                    return
                self._ask()
                failures = 0
                self._wake.wait(EVERY)
                self._wake.clear()
                self._closing.wait(EVERY / 2)  # what is said in one breath goes in one batch
            except Later as why:
                self._complain(str(why))
                self._rest(max(why.after, min(LONGEST_PAUSE, PAUSE * 2**failures)) * (0.75 + random.random() / 2))
                failures = min(failures + 1, 10)
            except Exception as error:  # a bug of ours must not end the thread
                self._complain(repr(error))
                self._rest(LONGEST_PAUSE)

    def _rest(self, pause: float) -> None:
        """Wait, whatever is said meanwhile; not so long while somebody waits for our end."""
        if self._closing.wait(pause):
            time.sleep(min(pause, 0.5))

    def _complain(self, why: str) -> None:
        if why != self.last_error:
            self.last_error = why
            logger.warning("trainmon: %s; events wait in %s", why, self.spool.folder)

    def _send(self) -> bool:
        """Send all that lies in the spool, of dead processes too; whether nothing of ours is left."""
        with _Alone(self.spool.folder) as alone:
            for path in self.spool.files() if alone else ():  # else another process is at it, and sends ours as well
                self._send_file(path)
        while self.spool.memory:
            some = [self.spool.memory[at] for at in range(min(RECORDS, len(self.spool.memory)))]
            self._post(self.run, some)
            for _ in some:
                self.spool.memory.popleft()
        if self.dropped > self._told:
            self._tell_dropped()
        with self._lock:
            self.spool.mine = [path for path in self.spool.mine if path.exists()]
            return not self.spool.mine

    def _tell_dropped(self) -> None:
        with self._lock:
            self.spool.sum_up(0.0)
        before = self.dropped
        left_out = before - self._told
        self.log("client.dropped", "%d records were left out: the spool was full" % left_out, "WARNING", dropped=left_out)
        self._told, self.dropped = (before if self.dropped == before else self._told), before

    def _send_file(self, path: Path) -> None:
        over = self.spool.is_over(path)  # asked first: what comes after the last look is then seen by the next
        try:
            with path.open("rb") as file:
                run = _run_of(file.readline()) or self.run
                if self._sent.get(path.name):
                    file.seek(self._sent[path.name])
                for lines, end in _batches(file):
                    self._post(run, lines)
                    self._sent[path.name] = end
        except FileNotFoundError:
            over = False
        if over:
            path.unlink()
            self._sent.pop(path.name, None)

    def _post(self, run: str, lines: List[bytes]) -> None:
        if not lines:
            return
        body = b'{"run":%s,"events":[%s]}' % (json.dumps(run).encode(), b",".join(lines))
        status, told, _ = self.server.ask("POST", "events/", body)
        if status == 202:
            self._hear(told)
            for wrong in told.get("errors", []):
                self._reject(lines[wrong["index"]], wrong)
        elif status not in (400, 413):
            raise Later("%d: %s" % (status, told.get("detail")), REFUSED_PAUSE)
        elif len(lines) > 1:  # something in it is malformed: find it
            self._post(run, lines[: len(lines) // 2])
            self._post(run, lines[len(lines) // 2 :])
        else:
            self._reject(lines[0], {"error": told.get("detail", "refused")})

    def _hear(self, told: Dict[str, Any]) -> None:
        self.last_error = ""
        self._due_ask = time.monotonic() + ASK_EVERY
        if self.job in told.get("cancel", []):
            self._cancelled.set()

    def _reject(self, line: bytes, why: Dict[str, Any]) -> None:
        """A record that is not wanted as it is: kept beside the spool, the latest megabyte."""
        self.rejected += 1
        logger.warning("trainmon took a record not: %s %s", why.get("error"), why.get("hint", ""))
        path = self.spool.folder / "rejected.jsonl"
        try:
            if path.exists() and path.stat().st_size > SEGMENT:
                path.replace(path.with_suffix(".old"))
            with path.open("ab") as file:
                file.write(line + b"\n")
        except OSError:
            pass

    def _ask(self) -> None:
        """Whether our job is to end: also when it has nothing to say."""
        if self._count and time.monotonic() > self._due_ask and not self._closing.is_set():
            body = json.dumps({"run": self.run, "jobs": [self.job]}).encode()
            self._hear(self.server.ask("POST", "events/", body)[1])

    # Whole files

    def _ship(self, closing: bool) -> bool:
        """Send what has grown; at the end, ask whether all is there as it is here.  Whether all is."""
        if not closing and time.monotonic() < self._due_ship:
            return False
        whole = True
        for folder, pattern in self.shipped:
            for path in sorted(folder.rglob(pattern)):
                if path.is_file() and not path.is_symlink():
                    whole &= self._ship_file(path, "%s/%s" % (self.run, path.relative_to(folder).as_posix()), closing)
        self._due_ship = time.monotonic() + (SHIP_EVERY if whole else 0.0)
        return whole

    def _ship_file(self, path: Path, name: str, closing: bool) -> bool:
        """Some pieces of a file (events must not wait for long); whether it is there to its end."""
        state = self._files.setdefault(path, {"inode": 0, "offset": 0, "refused": False, "anew": False, "odd": 0})
        with path.open("rb") as file:
            held = os.fstat(file.fileno())
            if state["inode"] != held.st_ino or held.st_size < state["offset"]:
                self._meet(file, name, state)
                state["inode"] = held.st_ino
            for _ in range(8):
                if state["refused"]:
                    return True
                file.seek(state["offset"])
                data = file.read(PIECE)
                if not data and not closing:
                    return True
                query = {"path": name, "offset": state["offset"], "anew": "true" if state["anew"] else "false"}
                if not data:
                    query["sha256"] = _sha256(file, state["offset"])
                if self._put(file, name, state, query, data) and not data:
                    return True
        return False

    def _put(self, file: Any, name: str, state: Dict[str, Any], query: Dict[str, Any], data: bytes) -> bool:
        path = "files/?" + urlencode(query, quote_via=quote)
        status, told, headers = self.server.ask("PUT", path, data, "application/octet-stream")
        if status == 200:
            state["offset"], state["anew"] = told["offset"], False
            return True
        state["odd"] += 1
        if status == 409 and "Upload-Offset" in headers and state["odd"] < 10:
            self._meet(file, name, state)
        elif status == 422 and state["odd"] < 10:  # it is another file by now
            state["offset"], state["anew"] = 0, True
        else:
            self._refuse(name, state, told)
        return False

    def _refuse(self, name: str, state: Dict[str, Any], told: Dict[str, Any]) -> None:
        state["refused"] = True
        self.rejected += 1
        logger.warning("trainmon took %s not: %s", name, told.get("detail"))

    def _meet(self, file: Any, name: str, state: Dict[str, Any]) -> None:
        """Where to go on: behind what is there, if that is the beginning of this file; else from its start, anew."""
        status, told, _ = self.server.ask("GET", "files/?" + urlencode({"path": name}, quote_via=quote))
        offset = told.get("offset", 0)
        if status != 200:
            return self._refuse(name, state, told)
        begin = max(0, offset - TAIL)
        file.seek(begin)
        same = not offset or hashlib.sha256(file.read(offset - begin)).hexdigest() == told.get("tail")
        state["offset"], state["anew"] = (offset, False) if same else (0, True)


class _Alone:
    """The right to send what lies in a folder; not had where another process has it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.fd = folder, -1

    def __enter__(self) -> bool:
        if not fcntl or not self.folder.is_dir():
            return True
        try:
            self.fd = os.open(str(self.folder / "sender.lock"), os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a full disk has no room for a lock: rather twice than not at all
            return True
        return True

    def __exit__(self, *_: Any) -> None:
        if self.fd >= 0:
            os.close(self.fd)


def _batches(file: Any) -> Iterator[Tuple[List[bytes], int]]:
    """Whole lines, a batch at a time, and where each batch ends; lines that are none are passed over."""
    lines: List[bytes] = []
    size, end = 0, file.tell()
    for line in iter(file.readline, b""):
        if not line.endswith(b"\n"):
            break
        if size + len(line) > BATCH or len(lines) >= RECORDS:
            yield lines, end
            lines, size = [], 0
        end += len(line)
        if _is_object(line):
            lines.append(line.rstrip())
            size += len(line)
    yield lines, end


def _is_object(line: bytes) -> bool:
    """Whether a line is whole: the disk may have been full in the middle of it."""
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _run_of(line: bytes) -> str:
    try:
        return str(json.loads(line)["run"])
    except (ValueError, KeyError, TypeError):
        return ""


def _sha256(file: Any, size: int) -> str:
    digest = hashlib.sha256()
    file.seek(0)
    while size > 0:
        data = file.read(min(PIECE, size))
        if not data:
            break
        digest.update(data)
        size -= len(data)
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """What json cannot write: numpy's and torch's numbers, paths, sets."""
    try:
        return value.item()
    except Exception:
        return sorted(map(str, value)) if isinstance(value, (set, frozenset)) else str(value)


def _do(here: Any, name: str, *arguments: Any) -> None:
    client = here()
    if client is not None:
        getattr(client, name)(*arguments)


def main() -> int:
    """The command line: send what is left in a spool, ship a folder."""
    parser = argparse.ArgumentParser(description="Send to trainmon (the token is in TRAINMON_TOKEN).")
    parser.add_argument("url")
    parser.add_argument("--spool", default="", help="folder of the spool (default: a new one below the temporary folder)")
    parser.add_argument("--run", default="", help="the run, as name or dataset/name")
    parser.add_argument("--ship", default="", metavar="FOLDER", help="send the files of this folder")
    parser.add_argument("--pattern", default="*tfevents*", help="which of its files (default: %(default)s)")
    parser.add_argument("--follow", action="store_true", help="go on for ever, with what is appended")
    parser.add_argument("--timeout", type=float, default=3600.0, help="give up after so many seconds (default: an hour)")
    asked = parser.parse_args()
    if bool(asked.ship) != bool(asked.run):
        parser.error("--ship and --run go together")
    logging.basicConfig(format="%(message)s")
    spool = asked.spool or os.path.join(tempfile.gettempdir(), "trainmon-spool-" + getpass.getuser())
    client = Client(asked.url, os.environ.get("TRAINMON_TOKEN", ""), run=asked.run or "left", job="ship", spool=spool)
    if asked.ship:
        client.ship(asked.ship, asked.pattern)
    try:
        while asked.follow:
            time.sleep(1)
    except KeyboardInterrupt:
        pass
    done = client.close(asked.timeout)
    print("All was taken." if done else "Not all was taken: %s" % client.last_error, file=sys.stderr)
    return 0 if done and not client.rejected else 1


if __name__ == "__main__":
    sys.exit(main())
