"""JSON lines: a job's log, read from where it was left up to its last newline.

The concatenated Blocks of a file are the same whatever the limits and resume points, but
for how often a Said "progress" comes; the last one before any other Said is the same.

- A half-written last line waits.  Empty lines are none.
- A line that is no JSON object is skipped: a Damage "not a record".
- A line longer than LINE_BYTES, or with more than MAX_COMMAS commas and brackets, is passed
  over in pieces: a Damage "too large", shown as ``Block.pending`` until its end is found.
- Beyond strict JSON: NaN, Infinity and 1e999 are values, raw control characters are text,
  invalid UTF-8 becomes U+FFFD, NUL and lone surrogates visible escapes (runs/readers/plain.py), a
  byte order mark is skipped, of equal keys the last one counts.  Nesting deeper than
  Python's recursion limit is damage.

One line at a time with msgspec: decode_lines saves a fifth of the decoding, a twentieth of
the whole, but takes two objects on a line and one over two lines, and tells no offsets.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from runs.readers import joblog, plain
from runs.readers.jobfold import Fold, Job
from runs.readers.records import BLOCK_BYTES, LINE_KEPT, Block, Damage, Known, Lines, Part
from runs.readers.remembered import dumped, loaded
from runs.readers.source import data_from

LINE_BYTES = 16 * 1024 * 1024
MAX_COMMAS = 1_000_000
PEEK_BYTES = 64 * 1024
#: The same where the first line is longer: one that names a large configuration, or was pushed (256 KiB, each sign escaped).
LONGER_PEEK = 2 * 1024 * 1024
_PIECE = 1024 * 1024
_BATCH = 256 * 1024
_NEWLINE = re.compile(rb"\n")
_BOM = b"\xef\xbb\xbf"
_BLANK = _BOM + b" \t\r\n"
_NAMES = {
    "run": ("run", "run_name", "run_id"),
    "logdir": ("logdir", "log_dir", "logging_dir", "tensorboard_dir"),
    "dataset": ("dataset", "dataset_name"),
}
#: 2: lines are kept.
_FORMAT = 2
_LARGEST_DUMP = 1 << 28
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class State(msgspec.Struct):
    """Where the reader goes on: the start of a line.

    Inside a line that is too long ``offset`` is where the search for its end goes on, and
    ``lost_from`` its start (-1: none).  ``last`` is the job of the last log line: lines that are
    none stay with it.
    """

    format: int = _FORMAT
    offset: int = 0
    part: int = 0
    started: bool = False
    lost_from: int = -1
    jobs: dict[str, Job] = {}
    last: str | None = None

    def copy(self) -> State:
        jobs = {name: job.copy() for name, job in self.jobs.items()}
        return msgspec.structs.replace(self, jobs=jobs)

    def dump(self) -> bytes:
        """A few hundred bytes a job."""
        return dumped(self)

    @classmethod
    def load(cls, dump: bytes) -> State:
        """ValueError where ``dump`` is none of ours: the caller reads from 0 again."""
        return loaded(dump, cls, _FORMAT, _LARGEST_DUMP)


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a JSON lines file is.

    ``name`` is one of joblog's shapes: "job log", "progress", "lifecycle", "service log".
    ``job`` is the first job id in it, ``run``, ``logdir`` and ``dataset`` what its start
    record names; "" where there is none.
    """

    name: str
    job: str = ""
    run: str = ""
    logdir: str = ""
    dataset: str = ""


@dataclass(frozen=True, slots=True)
class Undecided:
    """No whole line yet: ask again when the file has grown."""


def peek(fd: int, max_bytes: int = PEEK_BYTES) -> Dialect | Undecided | None:
    """What the file's first lines say it is; None where it is no log that we read.

    A log has the shape of one in at least half of its lines that are JSON objects.
    """
    head = bytes_at(fd, 0, max_bytes)
    whole = head[: head.rfind(b"\n") + 1]
    lines = [line for line in whole.split(b"\n") if line.strip()]
    if not lines:
        if len(head) < max_bytes:
            return Undecided()
        if max_bytes < LONGER_PEEK:
            return peek(fd, LONGER_PEEK)
        may_be = max_bytes <= LINE_BYTES and head.lstrip(_BLANK).startswith(b"{")
        return peek(fd, LINE_BYTES + 1) if may_be else None
    records = [record for line in lines if isinstance(record := _record(line), dict)]
    entries = [found for record in records if (found := joblog.entry(record)) is not None]
    if not entries or len(entries) * 2 < len(records):
        return None
    job = next((found.job for found in entries if found.job), "")
    return Dialect(entries[0].shape, job, **_named(entries))


def read(
    fd: int, state: State | None = None, *, limit: int = BLOCK_BYTES, known: Known | None = None
) -> Block:
    """The lines from ``state`` on: about ``limit`` bytes of them, at least one whole line.

    ``known`` is asked for lines with an ``event_id`` (in the line or its fields) before they are
    read; those it names are passed over, the others are in ``Block.event_ids``.  An id that comes
    twice in one question it must count once itself.

    ``state`` is left as it was.  Raises TooMuch beyond so many jobs or tags in a file.
    """
    state = state.copy() if state else State()
    block, begin = Block(state), state.offset
    if state.lost_from >= 0:
        pass_over(fd, state, block, limit)
    else:
        data = _lines(fd, state, block, limit)
        fold = Fold(state.jobs, state.part, block)
        for start, piece in _pieces(data):
            _read_lines(piece, begin + start, state, fold, known)
        fold.finish()
        state.part = fold.part
        state.offset += len(data)
    if state.lost_from >= 0:
        block.pending = Damage(state.lost_from, state.offset - state.lost_from, "too large")
    block.bytes_read = state.offset - begin
    return block


def _lines(fd: int, state: State, block: Block, limit: int) -> bytes:
    """Whole lines from the state's offset on; beyond LINE_BYTES without end a line is lost."""
    data = bytes_at(fd, state.offset, limit)
    asked = limit
    while not (end := data.rfind(b"\n") + 1) and len(data) == asked <= LINE_BYTES:
        more = min(max(asked, 4096), LINE_BYTES + 1 - asked)
        data += bytes_at(fd, state.offset + asked, more)
        asked += more
    block.at_end = len(data) < asked
    if not end and len(data) > LINE_BYTES:
        state.lost_from = state.offset
        state.offset += len(data)
    return data[:end]


def pass_over(fd: int, state: Any, block: Block, limit: int, ends: re.Pattern[bytes] = _NEWLINE) -> None:
    """Search the end of a line that is too long (``state`` has offset and lost_from); what is passed is not kept."""
    stop = state.offset + max(limit, 1)
    while state.offset < stop:
        written = data_from(fd, state.offset)
        if written is None:  # a hole holds no line's end
            block.at_end = True
            return
        state.offset = written
        data = bytes_at(fd, state.offset, _PIECE)
        found = ends.search(data)
        state.offset += found.start() + 1 if found else len(data)
        if found:
            start, state.lost_from = state.lost_from, -1
            block.damages.append(Damage(start, state.offset - start, "too large"))
            return
        if len(data) < _PIECE:
            block.at_end = True
            return


def bytes_at(fd: int, at: int, count: int) -> bytes:
    """``count`` bytes, fewer only at the file's end."""
    data = os.pread(fd, count, at)
    pieces = [data]
    while pieces[-1] and (missing := count - sum(map(len, pieces))):
        pieces.append(os.pread(fd, missing, at + count - missing))
    return data if len(pieces) == 1 else b"".join(pieces)


def _pieces(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Whole lines in pieces of about 256 KB: a block of tiny lines is 300 MB of objects."""
    start = 0
    while start < len(data):
        end = data.rfind(b"\n", start, start + _BATCH) + 1 or data.find(b"\n", start) + 1
        yield start, data[start:end]
        start = end


def _read_lines(piece: bytes, offset: int, state: State, fold: Fold, known: Known | None) -> None:
    block = fold.block
    passed = _counted(piece, offset, block, known) if b'"event_id"' in piece else ()
    record: Any
    for line in piece[:-1].split(b"\n"):
        try:
            strict, record = True, _decode(line) if len(line) <= _PIECE else _record(line)
        except (msgspec.DecodeError, ValueError, RecursionError):
            strict, record = False, _record(line)
        if type(record) is dict:
            if not state.started:
                state.started = True
                block.parts.append(Part(0, "start", offset))
            block.records += 1
            if offset not in passed:
                found = joblog.entry(record)
                if found is not None:
                    state.last = found.job
                    fold.line(found, offset)
                _keep(block, state, found, line if strict else b"", record)
        elif record is not None:
            kind, _, detail = record.partition(": ")
            block.damages.append(Damage(offset, len(line) + 1, kind, detail))
            _keep(block, state, None, b"", {"msg": plain.text(line[:LINE_KEPT].decode("utf-8", "replace"))})
        offset += len(line) + 1


def _keep(block: Block, state: State, found: joblog.Entry | None, raw: bytes, record: dict[str, Any]) -> None:
    """Keep a line with its job, or the job of the line before; ``raw``: as it was written, "" anew."""
    job = state.last if found is None else found.job
    if job is None:
        return
    lines = block.lines.get(job)
    if lines is None:
        lines = block.lines[job] = Lines()
    if not raw or len(raw) > LINE_KEPT:
        raw = msgspec.json.encode(plain.tree(record))
    if raw[0] != 123 or raw[-1] != 125:  # { }
        raw = raw.strip()
    if found is None:
        lines.add(raw, None, "", "")
    else:
        lines.add(raw, found.at, found.level, found.event)


def _counted(piece: bytes, offset: int, block: Block, known: Known | None) -> set[int]:
    """The lines whose ``event_id`` was counted before; the others' are noted in the block."""
    named: list[tuple[str, int]] = []
    for line in piece[:-1].split(b"\n"):
        if b'"event_id"' in line and isinstance(record := _record(line), dict):
            fields = record.get("fields")
            inner = fields.get("event_id") if isinstance(fields, dict) else None
            if event_id := plain.text(record.get("event_id") or inner, joblog.MAX_JOB):
                named.append((event_id, offset))
        offset += len(line) + 1
    passed = known(named) if known and named else set()
    block.event_ids += [one for one in named if one[1] not in passed]
    return passed


def _record(line: bytes) -> dict[str, Any] | str | None:
    """A line read with patience: an object, None if empty, or the damage and its reason."""
    if len(line) > LINE_BYTES:
        return "too large"
    if len(line) > _PIECE and sum(map(line.count, (b",", b"[", b"{"))) > MAX_COMMAS:
        return "too large: too many values"
    line = line.removeprefix(_BOM).strip()
    if not line:
        return None
    try:
        found = json.loads(line.decode("utf-8", "replace"), strict=False, parse_int=_integer)
    except RecursionError:
        return "not a record: nested too deeply"
    except ValueError:
        return "not a record: not JSON"
    return found if isinstance(found, dict) else "not a record: not an object"


def _integer(digits: str) -> int | float:
    """Python refuses to read an int of more than 4,300 digits, in time square to them."""
    return int(digits) if len(digits) < 400 else float(digits)


def _named(entries: list[joblog.Entry]) -> dict[str, str]:
    """The run, logdir and dataset that a log's first lines name, or their configuration."""
    named = dict.fromkeys(_NAMES, "")
    for found in entries:
        config = found.fields.get("config")
        for fields in (found.fields, config if isinstance(config, dict) else {}):
            for name, keys in _NAMES.items():
                words = (plain.text(fields.get(key), 4096) for key in keys)
                named[name] = named[name] or next(filter(None, words), "")
    return named
