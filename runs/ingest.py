"""From a file's new bytes to rows: the only writer from outside.

``ingest(run)`` reads what its files have gained and commits, for each file in turn, at most
about ``BATCH_BYTES`` of input at a time: points, texts, references, segments, jobs, the
file's offset and, with the last batch, the run's status - one transaction.  A crash at any
moment leaves an offset that fits the rows, and the next call goes on there.  No transaction
is open while a file is read.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction

from runs import identity, jobs, redact
from runs.facts import apply_facts, believable, settle
from runs.lease import Lease, LeaseLost
from runs.models import LogFile, Run, Sample, Segment, TextSummary
from runs.plain import plain
from runs.points import SeriesWriter, ensure_tags, forget_generations, recount, tag_name
from runs.readers import confined, jsonl, tfevents
from runs.readers.records import Block, Part, Points, TooMuch

#: Input folded into one transaction: bounds memory (about 4 times this) and lock time.
BATCH_BYTES = 32 * 1024 * 1024
#: Replaced generations of a file that are kept beside the shown one.
KEPT_GENERATIONS = 3
DAMAGES_KEPT = 100
#: References and texts of one file that are stored; the rest is counted as left out.
SAMPLES_KEPT, TEXTS_KEPT = 100_000, 10_000
SAMPLE_KINDS = frozenset({"image", "audio"})

Report = Callable[[int], None]
log = logging.getLogger(__name__)


@dataclass(slots=True)
class Gained:
    """What a call of ``ingest`` brought; ``runs`` are those that something came for."""

    bytes_read: int = 0
    points: int = 0
    records: int = 0
    damages: int = 0
    generations: int = 0
    vanished: int = 0
    errors: list[str] = field(default_factory=list)
    runs: set[int] = field(default_factory=set)

    def add(self, other: Gained) -> None:
        """Count another run's gains too."""
        self.bytes_read += other.bytes_read
        self.points += other.points
        self.records += other.records
        self.damages += other.damages
        self.generations += other.generations
        self.vanished += other.vanished
        self.errors += other.errors
        self.runs |= other.runs


def ingest(run_id: int, lease: Lease, report: Report = lambda _: None, *, full: bool = False) -> Gained:
    """Read what the run's files have gained; ``report`` hears of bytes as they are read.

    ``full`` reads every file again from its start, as a new generation.  Damage and
    unreadable files are stored on the file and named in ``Gained.errors``; LeaseLost is
    raised when another sync has taken over.
    """
    gained = Gained()
    held = LogFile.objects.filter(run_id=run_id, missing=False).select_related("source").order_by("path")
    files = [log_file for log_file in held if full or _looks_changed(log_file)]
    for index, log_file in enumerate(files):
        reading = _Reading(log_file, lease, report, gained, last=index == len(files) - 1)
        try:
            reading.read(full=full)
        except FileNotFoundError:
            reading.leave()
        except (OSError, TooMuch) as problem:
            reading.fail(problem)
        except (LeaseLost, OperationalError, InterfaceError):
            raise
        except Exception as problem:  # what no test foresaw: the file says so, the other runs go on
            log.exception("run %s: %s", run_id, log_file.path_text)
            reading.fail(problem)
    if gained.bytes_read or gained.generations or gained.errors:
        gained.runs.add(run_id)
    return gained


def _looks_changed(file: LogFile) -> bool:
    """Whether the file must be opened: it is not just as when it was read."""
    try:
        st = confined.stat_inside(file.source.root, bytes(file.path))
    except OSError:
        return True
    return st is None or (st.st_dev, st.st_ino, st.st_size, st.st_mtime_ns) != (
        file.device, int(file.inode), file.size, file.mtime_ns)


class _Reading:
    """One file of a run, read to its present end."""

    def __init__(self, log_file: LogFile, lease: Lease, report: Report, gained: Gained, *, last: bool) -> None:
        self.file, self.lease, self.report, self.gained, self.last = log_file, lease, report, gained, last
        self.path = bytes(log_file.path)
        self.reader: Any = tfevents if log_file.kind == LogFile.Kind.EVENTS else jsonl

    def read(self, *, full: bool) -> None:
        """Read to the end; once more where the path names another file by then."""
        for _ in range(3):
            with confined.opened(self.file.source.root, self.path) as fd:
                seen = identity.of(fd)
                if full or not self._goes_on() or not identity.continues(fd, seen, self.file):
                    self._begin_generation()
                full = False
                self._read_open(fd, seen)
            now_there = confined.stat_inside(self.file.source.root, self.path)
            if now_there is None or (now_there.st_dev, now_there.st_ino) == (seen.device, seen.inode):
                return

    def fail(self, problem: Exception) -> None:
        """Store on the file why it cannot be read further; the others go on."""
        expected = isinstance(problem, OSError | TooMuch)
        why = problem.strerror if isinstance(problem, OSError) and problem.strerror else str(problem)
        why = plain(why if expected else f"it cannot be stored: {type(problem).__name__}: {why}")[:2000]
        self._judge(error=why)
        self.gained.errors.append(f"{self.file.path_text}: {why}")

    def leave(self) -> None:
        """It has vanished since the scan: the next one says whether it is gone."""
        self.gained.vanished += 1
        self._judge()

    def _judge(self, **facts: str) -> None:
        with transaction.atomic():
            self.lease.check()
            run = Run.objects.select_for_update().get(pk=self.file.run_id)
            if facts:
                LogFile.objects.filter(pk=self.file.pk).update(**facts)
            settle(run, time.time())
            run.version += 1
            run.save()

    def _goes_on(self) -> bool:
        """Whether this version's reader understands where it stood."""
        try:
            return not self.file.state or bool(self.reader.State.load(bytes(self.file.state)))
        except ValueError:
            return False

    def _begin_generation(self) -> None:
        """The content is another than was read: go from 0, beside what is shown."""
        if self.file.offset or self.file.records:
            self.file.reading += 1
            self.gained.generations += 1
        self.file.offset, self.file.state = 0, b""
        for counter in ("records", "points", "bad_records", "lost_bytes"):
            setattr(self.file, counter, 0)
        self.file.damages, self.file.first_wall, self.file.last_wall = [], None, None

    def _read_open(self, fd: int, seen: identity.Seen) -> None:
        file = self.file
        state = self.reader.State.load(bytes(file.state)) if file.state else None
        writer = SeriesWriter(
            file.run_id, file.pk, file.reading, prefix=file.prefix, fresh=file.offset == 0
        )
        at_end = False
        while not at_end:
            blocks: list[Block] = []
            amount = 0
            while amount < BATCH_BYTES and not at_end:
                block = self._next_block(fd, state)
                state, at_end = block.state, block.at_end
                amount += block.bytes_read
                blocks.append(block)
                self.report(block.bytes_read)
            self._commit(fd, seen, blocks, writer, at_end=at_end)

    def _next_block(self, fd: int, state: Any) -> Block:
        if self.reader is tfevents:
            return tfevents.read(fd, state, plugins=self._plugins(), max_tags=settings.TRAINMON_MAX_TAGS)
        return jsonl.read(fd, state)

    def _plugins(self) -> dict[str, str]:
        """Metadata that other files of the run gave: a resumed writer may leave it out."""
        if not hasattr(self, "_known_plugins"):
            self._known_plugins: dict[str, str] = {}
            others = LogFile.objects.filter(run_id=self.file.run_id, kind=LogFile.Kind.EVENTS, prefix=self.file.prefix)
            for dumped in others.exclude(pk=self.file.pk).exclude(state=b"").values_list("state", flat=True):
                with contextlib.suppress(ValueError):  # of another version: read anew, it says so again
                    self._known_plugins.update(tfevents.State.load(bytes(dumped)).plugins)
        return self._known_plugins

    def _commit(
        self, fd: int, seen: identity.Seen, blocks: list[Block], writer: SeriesWriter, *, at_end: bool
    ) -> None:
        """Rows, offset and status together; raises LeaseLost where somebody else went on."""
        file, state = self.file, blocks[-1].state
        points = _named([piece for block in blocks for piece in block.points], state)
        if points:
            ensure_tags({tag_name(file.prefix, piece.tag) for piece in points})
        with transaction.atomic():
            self.lease.check()
            run = Run.objects.select_for_update().get(pk=file.run_id)
            stored = LogFile.objects.select_for_update().get(pk=file.pk)
            _expect_unchanged(file, stored, blocks)
            switching = at_end and file.reading != stored.generation
            count = writer.write(points, shown=file.reading == stored.generation)
            _store_beside(run, file, blocks)
            jobs.apply(run, file, [said for block in blocks for said in block.said])
            apply_facts(run, file, blocks, seen.mtime)
            file.generation = file.reading if switching else stored.generation
            self._advance(fd, seen, blocks, count, at_end=at_end)
            if switching:
                forget_generations(file.pk, run.pk, file.reading - KEPT_GENERATIONS)
                run.point_count = recount(run.pk)
            elif file.reading == file.generation:
                run.point_count += count
            changed = at_end and self.last and settle(run, time.time())
            if changed or switching or any(block.records or block.damages for block in blocks):
                run.version += 1
            run.save()
        file.state = state.dump()
        self.gained.add(Gained(sum(b.bytes_read for b in blocks), count, sum(b.records for b in blocks),
                               sum(len(b.damages) for b in blocks)))

    def _advance(self, fd: int, seen: identity.Seen, blocks: list[Block], count: int, *, at_end: bool) -> None:
        """Bring the file's row to the end of these blocks."""
        file, state = self.file, blocks[-1].state
        damages = [damage for block in blocks for damage in block.damages]
        file.offset, file.state = state.offset, state.dump()
        file.head_hash, file.tail_hash = identity.hashes(fd, state.offset)
        file.device, file.inode = seen.device, seen.inode
        # an unfinished pass must not look complete to the next scan
        file.size, file.mtime_ns = (seen.size, seen.settled_mtime_ns()) if at_end else (-1, 0)
        file.records += sum(block.records for block in blocks)
        file.points += count
        file.bad_records += sum(1 for damage in damages if damage.kind != "length crc")
        file.lost_bytes += sum(damage.length for damage in damages)
        room = DAMAGES_KEPT - len(file.damages)
        file.damages = file.damages + [
            {"offset": d.offset, "length": d.length, "kind": d.kind, "detail": plain(d.detail)} for d in damages[:room]
        ]
        last = blocks[-1].pending
        file.pending = None if last is None else {"offset": last.offset, "length": last.length, "kind": last.kind}
        # of its first and its last record, whatever the clock did between
        firsts = [file.first_wall, *(block.first_wall for block in blocks)]
        lasts = [*(block.last_wall for block in reversed(blocks)), file.last_wall]
        file.first_wall = next((wall for wall in firsts if wall is not None), None)
        file.last_wall = next((wall for wall in lasts if wall is not None), None)
        file.error = ""
        file.save()


def _named(points: list[Points], state: Any) -> list[Points]:
    """Points of a log of several jobs: those of all but its first job carry the job's name."""
    if not any(piece.job for piece in points):
        return points
    first = next(iter(state.jobs), "")
    for piece in points:
        if piece.job != first:
            piece.tag = f"{piece.job or 'other'}/{piece.tag}"
    return points


def _expect_unchanged(file: LogFile, stored: LogFile, blocks: list[Block]) -> None:
    """Nobody else has read this file meanwhile (the lease should make that impossible)."""
    begun = file.reading != stored.reading and file.reading == stored.reading + 1
    if stored.offset != file.offset and not begun:
        raise LeaseLost(f"{file.path_text} was read to {stored.offset} by another sync")


def _store_beside(run: Run, file: LogFile, blocks: list[Block]) -> None:
    """Segments, texts and references of these blocks."""
    _store_segments(run, file, blocks)
    where = {"run": run, "log_file": file, "generation": file.reading}
    texts = [t for block in blocks for t in block.texts]
    blobs = [b for block in blocks for b in block.blobs if b.kind in SAMPLE_KINDS]
    if texts:
        room = TEXTS_KEPT - TextSummary.objects.filter(log_file=file, generation=file.reading).count()
        TextSummary.objects.bulk_create(
            TextSummary(**where, part=t.part, offset=t.offset, tag=plain(file.prefix + t.tag), step=t.step,
                        wall=t.wall, text=plain(redact.text(t.text)), truncated=t.truncated)
            for t in texts[: max(0, room)]
        )
    if blobs:
        room = SAMPLES_KEPT - Sample.objects.filter(log_file=file, generation=file.reading).count()
        Sample.objects.bulk_create(
            Sample(**where, part=b.part, offset=b.offset, length=b.length, kind=b.kind,
                   tag=plain(file.prefix + b.tag), step=b.step, wall=b.wall)
            for b in blobs[: max(0, room)]
        )


def _store_segments(run: Run, file: LogFile, blocks: list[Block]) -> None:
    """One row a part, grown by what these blocks hold of it."""
    begun = {part.number: part for block in blocks for part in block.parts}
    grown: dict[int, list[Any]] = {}
    for block in blocks:
        for piece in block.points:
            grown.setdefault(piece.part, []).append(piece)
    for number in sorted(set(begun) | set(grown)):
        segment = Segment.objects.filter(log_file=file, generation=file.reading, part=number).first()
        if segment is None:
            part = begun.get(number, Part(number, "start", 0))
            segment = Segment(run=run, log_file=file, generation=file.reading, part=number,
                              reason=plain(_why(part)), offset=part.offset)
        for piece in grown.get(number, []):
            steps, walls = piece.steps, believable(piece.walls)
            segment.first_step = _low(segment.first_step, int(steps.min()))
            segment.last_step = _high(segment.last_step, int(steps.max()))
            if len(walls):
                segment.first_wall = _low(segment.first_wall, float(walls.min()))
                segment.last_wall = _high(segment.last_wall, float(walls.max()))
        segment.save()


def _why(part: Part) -> str:
    if part.reason == "steps went back":
        return f"steps went back: {part.tag[:80]} at step {part.step}, before {part.before}"
    return part.reason


def _low(a: Any, b: Any) -> Any:
    return b if a is None else min(a, b)


def _high(a: Any, b: Any) -> Any:
    return b if a is None else max(a, b)
