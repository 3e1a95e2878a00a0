"""From the new bytes of runs to rows: the only writer from outside.

``ingest(runs)`` reads what their files have gained (runs/reading.py) and commits it in
batches (runs/commit.py): points, texts, references, segments, jobs, the files' offsets and,
with a run's last piece, its status - one transaction, of one large file or of many small
ones.  A crash at any moment leaves offsets that fit the rows, and the next call goes on
there.  No transaction is open while a file is read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from django.db import InterfaceError, OperationalError

from runs import beside, redact
from runs.commit import Batch, commit
from runs.counted import Counted, Twice
from runs.lease import Lease, LeaseLost
from runs.models import LogFile
from runs.readers.plain import plain
from runs.reading import PIECE_BYTES, Files, Piece, Trouble, files_of, pieces, was_exchanged

#: Runs that share a transaction, and whose rows are looked up together.
RUNS_TOGETHER = 200
#: How often a file is read again because its path named another one by the end.
EXCHANGES = 3

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
        """Count another call's gains too."""
        self.bytes_read += other.bytes_read
        self.points += other.points
        self.records += other.records
        self.damages += other.damages
        self.generations += other.generations
        self.vanished += other.vanished
        self.errors += other.errors
        self.runs |= other.runs

    def hear(self, item: Piece | Trouble) -> None:
        """Count one piece, or one file that could not be read."""
        if isinstance(item, Trouble):
            self.vanished += not item.why
            if item.why:
                self.errors.append(f"{item.file.path_text}: {item.why}")
                self.runs.add(item.file.run_id)
            return
        self.bytes_read += item.bytes_read
        self.points += sum(len(one.steps) for one in item.points)
        self.records += item.records
        self.damages += len(item.damages)
        again = item.begins and item.generation != item.file.generation
        self.generations += again
        if item.bytes_read or again:
            self.runs.add(item.file.run_id)


#: A run and the files beside its logs (bytes, relative to the source's root); None: leave those.
Work = tuple[int, tuple[bytes, ...] | None]


def ingest(
    work: Iterable[Work], root: str, lease: Lease, report: Callable[[int, int], None] = lambda amount, runs: None,
    *, full: bool = False,
) -> Gained:
    """Read what these runs have gained; ``report(bytes, runs)`` hears of both as they are done.

    ``full`` reads every file again from its start, as a new generation.  Damage and
    unreadable files are stored on the file and named in ``Gained.errors``; LeaseLost is
    raised when another sync has taken over.
    """
    gained = Gained()
    waiting = list(work)
    for at in range(0, len(waiting), RUNS_TOGETHER):
        some = waiting[at : at + RUNS_TOGETHER]
        try:
            _ingest_until_stored(some, root, lease, report, gained, full=full)
        except (LeaseLost, OperationalError, InterfaceError):
            raise
        except Exception:  # what no test foresaw: find the file that it is, the others go on
            log.exception("a batch of %s runs cannot be stored: one file at a time", len(some))
            for one in some:
                _one_by_one(one, root, lease, gained, full=full)
    return gained


def _ingest_until_stored(
    some: list[Work], root: str, lease: Lease, report: Callable[[int, int], None], gained: Gained, *, full: bool
) -> None:
    """Once more where somebody has counted the same events meanwhile: what was stored stays."""
    for left in reversed(range(EXCHANGES)):
        try:
            return _ingest_some(some, root, lease, report, gained, full=full)
        except Twice:
            if not left:
                raise


def _ingest_some(
    some: list[Work], root: str, lease: Lease, report: Callable[[int, int], None], gained: Gained,
    exchanges: int = EXCHANGES, *, full: bool,
) -> None:
    counted = Counted()

    def stored(batch: Batch) -> Batch:
        commit(batch, lease)
        counted.stored(batch.pieces)
        return Batch()

    batch, held = Batch(), 0
    exchanged: set[int] = set()
    for item in _items(some, root, lambda amount: report(amount, 0), counted, full=full):
        if isinstance(item, Piece):
            size = item.bytes_read
            if held + size > PIECE_BYTES or not item.at_end:
                batch, held = stored(batch), 0
            batch.pieces.append(item)
            held += size
            gained.hear(item)
            if not item.at_end:
                batch, held = stored(batch), 0
            elif was_exchanged(item):
                exchanged.add(item.file.run_id)
        elif isinstance(item, Trouble):
            batch.troubles.append(item)
            gained.hear(item)
        elif isinstance(item, beside.Beside):
            batch.besides.append(item)
        else:
            batch.done.append(item)
            report(0, 1)
    commit(batch, lease)
    if exchanged and exchanges:  # a run once, however many of its files were exchanged
        again: list[Work] = [(run_id, None) for run_id in sorted(exchanged)]
        _ingest_some(again, root, lease, lambda amount, _: report(amount, 0), gained, exchanges - 1, full=False)


def _items(
    some: list[Work], root: str, report: Report, counted: Counted, *, full: bool
) -> Iterator[Piece | Trouble | beside.Beside | int]:
    """All that is new of these runs, run by run; a run's id says that it is done."""
    run_ids = [run_id for run_id, _ in some]
    files = files_of(run_ids, full=full)
    known = beside.known([run_id for run_id, paths in some if paths is not None])
    for run_id, paths in some:
        if paths is not None and (found := beside.look(run_id, root, paths, known.get(run_id, {}))) is not None:
            yield found
        mine = files.get(run_id, Files())
        for file in mine.changed:
            yield from pieces(file, mine.plugins.setdefault(file.prefix, {}), report, counted, full=full)
        yield run_id


def _one_by_one(one: Work, root: str, lease: Lease, gained: Gained, *, full: bool) -> None:
    """Store each file of a run by itself; what fails is said on that file."""
    run_id, paths = one
    if paths is not None:
        _beside_alone(run_id, root, paths, lease)
    for files in files_of([run_id], full=full).values():
        for file in files.changed:
            try:
                for item in pieces(file, files.plugins.setdefault(file.prefix, {}), lambda _: None, Counted(), full=full):
                    kept = Batch(pieces=[item]) if isinstance(item, Piece) else Batch(troubles=[item])
                    commit(kept, lease)
                    gained.hear(item)
            except (LeaseLost, OperationalError, InterfaceError):
                raise
            except Exception as problem:
                log.exception("run %s: %s", run_id, file.path_text)
                trouble = Trouble(
                    LogFile.objects.select_related("source").get(pk=file.pk),
                    plain(redact.text(f"it cannot be stored: {type(problem).__name__}: {problem}"))[:2000])
                commit(Batch(troubles=[trouble]), lease)
                gained.hear(trouble)
    commit(Batch(done=[run_id]), lease)


def _beside_alone(run_id: int, root: str, paths: tuple[bytes, ...], lease: Lease) -> None:
    """Store what lies beside a run's logs by itself; where that fails the next sync tries again."""
    try:
        if (found := beside.look(run_id, root, paths, beside.known([run_id]).get(run_id, {}))) is not None:
            commit(Batch(besides=[found]), lease)
    except (LeaseLost, OperationalError, InterfaceError):
        raise
    except Exception:
        log.exception("run %s: what lies beside its logs cannot be stored", run_id)
