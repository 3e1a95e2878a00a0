"""Reading the log files of a run, without a transaction: pieces to be committed.

A file is opened without following links, judged by its content, and read from its offset in
pieces of about ``PIECE_BYTES`` of input.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import groupby
from typing import Any

from django.conf import settings

from runs import artifacts, identity, logchunks
from runs.artifacts import Named
from runs.compiled import Compiled
from runs.counted import Counted
from runs.models import LogFile, Source
from runs.points import SeriesWriter
from runs.query.conditions import among
from runs.readers import confined, jsonl, textlog, tfevents
from runs.readers.plain import plain
from runs.readers.records import Block, Damage, Points, TooMuch

#: Input of one piece: bounds memory (a batch holds two at most, about four times their bytes).
PIECE_BYTES = 24 * 1024 * 1024

READERS: dict[str, Any] = {LogFile.Kind.EVENTS: tfevents, LogFile.Kind.JSONL: jsonl, LogFile.Kind.TEXT: textlog}
Report = Callable[[int], None]


@dataclass(slots=True)
class Piece:
    """What was read of a file in one go; ``file`` is as it was before.

    ``generation`` is the one that was read, ``begins`` says that this is its first piece.
    """

    file: LogFile
    seen: identity.Seen
    generation: int
    begins: bool
    blocks: list[Block]
    writer: SeriesWriter
    head_hash: bytes
    tail_hash: bytes
    at_end: bool
    named: list[Named] = field(default_factory=list)
    points: list[Points] = field(init=False)

    def __post_init__(self) -> None:
        self.points = _named([one for block in self.blocks for one in block.points], self.state)

    @property
    def state(self) -> Any:
        """Where the reader goes on."""
        return self.blocks[-1].state

    @property
    def damages(self) -> list[Damage]:
        """All of its damages."""
        return [damage for block in self.blocks for damage in block.damages]

    @property
    def records(self) -> int:
        """How many records were read."""
        return sum(block.records for block in self.blocks)

    @property
    def bytes_read(self) -> int:
        """Bytes of input."""
        return sum(block.bytes_read for block in self.blocks)


@dataclass(frozen=True, slots=True)
class Trouble:
    """A file that could not be read further, in words; "" where it has only vanished.

    ``seen``: what it was where trying again makes sense only once it has changed.
    """

    file: LogFile
    why: str
    seen: identity.Seen | None = None


@dataclass(slots=True)
class Files:
    """The files of a run that must be opened, and what its files say of tags' plugins.

    ``plugins``: by prefix, tag -> plugin.  A resumed writer may leave the metadata out that
    another file of the run gave.
    """

    changed: list[LogFile] = field(default_factory=list)
    plugins: dict[str, dict[str, str]] = field(default_factory=dict)


def files_of(run_ids: list[int], *, full: bool) -> dict[int, Files]:
    """The files of these runs; ``changed`` are those that are not just as when read."""
    held = list(_held().models(runs=run_ids))
    sources = {source.pk: source for source in _sources().models(sources=list({file.source_id for file in held}))}
    files: dict[int, Files] = {}
    for file in held:
        file.source = sources[file.source_id]
    for run_id, group in groupby(held, key=lambda file: file.run_id):
        all_of_it = list(group)
        changed = [file for file in all_of_it if full or _looks_changed(file)]
        files[run_id] = Files(changed, _plugins(all_of_it) if changed and len(all_of_it) > 1 else {})
    return files


@cache
def _held() -> Compiled[LogFile]:
    return Compiled(LogFile.objects.filter(among("run", "runs"), missing=False).order_by("run_id", "path"))


@cache
def _sources() -> Compiled[Source]:
    found = Source.objects.filter(among("pk", "sources")).defer("verdicts", "fingerprint", "problems")
    return Compiled(found.order_by())


def pieces(
    file: LogFile, plugins: dict[str, str], report: Report, counted: Counted, *, full: bool
) -> Iterator[Piece | Trouble]:
    """A file's news, to its present end; ``report`` hears of bytes as they are read.

    ``plugins`` is what the run's files said so far, and learns from this one; so does ``counted`` of events' ids.
    """
    seen = None
    try:
        with confined.opened(file.source.root, bytes(file.path)) as fd:
            seen = identity.of(fd)
            fresh = full or not _goes_on(file) or not identity.continues(fd, seen, file)
            yield from _read_open(file, fd, seen, plugins, report, counted, begins=fresh)
    except FileNotFoundError:
        yield Trouble(file, "")
    except TooMuch as problem:
        yield Trouble(file, plain(str(problem)), seen)
    except OSError as problem:
        yield Trouble(file, plain(problem.strerror or str(problem)))


def was_exchanged(piece: Piece) -> bool:
    """Whether the path names another file by now: it was replaced while we read."""
    now = confined.stat_inside(piece.file.source.root, bytes(piece.file.path))
    return now is not None and (now.st_dev, now.st_ino) != (piece.seen.device, piece.seen.inode)


def _read_open(
    file: LogFile, fd: int, seen: identity.Seen, plugins: dict[str, str], report: Report, counted: Counted, *, begins: bool
) -> Iterator[Piece]:
    reader = READERS[file.kind]
    anew = begins and bool(file.offset or file.records)
    generation = file.reading + 1 if anew else file.reading
    state: Any = None if begins or not file.state else reader.State.load(bytes(file.state))
    writer = SeriesWriter(
        file.run_id, file.pk, generation, prefix=file.prefix, fresh=begins or file.offset == 0)
    at_end = False
    while not at_end:
        blocks: list[Block] = []
        amount = 0
        while amount < PIECE_BYTES and not at_end:
            block: Block = (
                tfevents.read(fd, state, plugins=plugins, max_tags=settings.TRAINMON_MAX_TAGS)
                if reader is tfevents else jsonl.read(fd, state, known=counted.known(file, generation))
                if reader is jsonl else reader.read(fd, state)
            )
            state, at_end = block.state, block.at_end
            amount += block.bytes_read
            for lines in block.lines.values():
                logchunks.clean(lines)
            blocks.append(block)
            report(block.bytes_read)
        named = artifacts.look(file, [said for block in blocks for said in block.said])
        yield Piece(file, seen, generation, begins, blocks, writer, *identity.hashes(fd, state.offset), at_end, named)
        begins = False
    if reader is tfevents:
        _learn(plugins, state)


def _looks_changed(file: LogFile) -> bool:
    try:
        st = confined.stat_inside(file.source.root, bytes(file.path))
    except OSError:
        return True
    return st is None or (st.st_dev, st.st_ino, st.st_size, st.st_mtime_ns) != (
        file.device, int(file.inode), file.size, file.mtime_ns)


def _goes_on(file: LogFile) -> bool:
    """Whether this version's reader understands where it stood."""
    reader = READERS[file.kind]
    try:
        return not file.state or bool(reader.State.load(bytes(file.state)))
    except ValueError:
        return False


def _plugins(files: list[LogFile]) -> dict[str, dict[str, str]]:
    """What the event files of a run have said of tags' plugins, by prefix."""
    known: dict[str, dict[str, str]] = {}
    for file in files:
        if file.kind == LogFile.Kind.EVENTS and file.state:
            with contextlib.suppress(ValueError):  # of another version: read anew, it says so again
                _learn(known.setdefault(file.prefix, {}), tfevents.State.load(bytes(file.state)))
    return known


def _learn(plugins: dict[str, str], state: tfevents.State) -> None:
    """The first word on a tag stays."""
    for tag, plugin in state.plugins.items():
        plugins.setdefault(tag, plugin)


def _named(points: list[Points], state: Any) -> list[Points]:
    """Points of a log of several jobs: those of all but its first job carry the job's name."""
    first = next(iter(getattr(state, "jobs", ())), "")
    for one in points:
        if one.job != first:
            one.tag = f"{one.job or 'other'}/{one.tag}"
    return points
