"""An ``event_id`` is counted once for its trainer, wherever it stands: pushed, in a volume's file, or in both.

A row says where the line stands that counted.  Reading asks before it reads a line; storing is done in
the transaction of the line's points, and fails where somebody else has counted one of its ids meanwhile
(then what was read is read again).  The same file read anew, as another generation, counts its own
ids once more: the rows move to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from django.db import connection

from runs.models import EventId, LogFile, Source

if TYPE_CHECKING:
    from runs.readers.records import Known
    from runs.reading import Piece

_STORE = """
INSERT INTO runs_eventid (trainer_id, event_id, log_file_id, generation, "offset")
SELECT * FROM unnest(%s::bigint[], %s::text[], %s::bigint[], %s::int[], %s::bigint[])
ON CONFLICT (trainer_id, event_id) DO UPDATE SET generation = EXCLUDED.generation, "offset" = EXCLUDED."offset"
WHERE runs_eventid.log_file_id = EXCLUDED.log_file_id
"""

Place = tuple[int, int, int]


class Twice(Exception):
    """Somebody has counted an event that was read here: read again, then it is known."""


class Counted:
    """What one reading of files knows of ids: those in the database, and its own until they are there."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[int, str], Place] = {}

    def known(self, file: LogFile, generation: int) -> Known:
        """What a reader of this file asks (runs/readers/jsonl.py)."""
        return partial(self._passed, file, generation)

    def _passed(self, file: LogFile, generation: int, asked: list[tuple[str, int]]) -> set[int]:
        """The offsets of lines whose event stands elsewhere, or earlier in this same reading."""
        trainer = file.source.trainer_id
        rows = EventId.objects.filter(trainer=trainer, event_id__in={event_id for event_id, _ in asked}).order_by()
        held = {event_id: place for event_id, *place in rows.values_list("event_id", "log_file_id", "generation", "offset")}
        passed = set()
        for event_id, offset in asked:
            here = (file.pk, generation, offset)
            there = self._waiting.get((trainer, event_id)) or tuple(held.get(event_id, here))
            if there == here or (there[0] == file.pk and there[1] != generation):
                self._waiting[trainer, event_id] = here
            else:
                passed.add(offset)
        return passed

    def stored(self, pieces: Iterable[Piece]) -> None:
        """What these pieces brought is in the database now, or was given up."""
        for piece in pieces:
            for event_id, _ in _ids(piece):
                self._waiting.pop((piece.file.source.trainer_id, event_id), None)


def store(pieces: Iterable[Piece]) -> None:
    """Count what these pieces brought, in the transaction of their points; raises Twice."""
    rows = sorted(
        (piece.file.source.trainer_id, event_id, piece.file.pk, piece.generation, offset)
        for piece in pieces for event_id, offset in _ids(piece)
    )  # in order: two transactions with the same ids wait for one another, and never in a circle
    if not rows:
        return
    with connection.cursor() as cursor:
        cursor.execute(_STORE, [list(column) for column in zip(*rows, strict=True)])
        if cursor.rowcount != len(rows):
            raise Twice(f"{len(rows) - cursor.rowcount} events were counted elsewhere meanwhile")


def _ids(piece: Piece) -> Iterable[tuple[str, int]]:
    return (one for block in piece.blocks for one in block.event_ids)


def keep(file: LogFile) -> None:
    """A reading of the file was dropped: what it counted stands in the generation that is shown."""
    EventId.objects.filter(log_file=file, generation__gt=file.generation).update(generation=file.generation)


def let_go(pieces: Iterable[Piece]) -> None:
    """Where another content is shown of a log now, the ids that it does not hold are free again.

    The run's other logs are then read anew: one of them may hold what the log's old name has just let go
    (it was rotated), and was passed over as known.
    """
    shown = [piece.file for piece in pieces if piece.generation and piece.generation == piece.file.generation
             and piece.at_end and piece.file.kind == LogFile.Kind.JSONL]  # event files have no ids: no query for each
    freed = [
        file for file in shown if EventId.objects.filter(log_file=file, generation__lt=file.generation).delete()[0]
    ]
    if freed:
        logs = LogFile.objects.filter(run__in={file.run_id for file in freed}, kind=LogFile.Kind.JSONL, missing=False)
        logs.exclude(pk__in=[file.pk for file in freed]).update(size=-1, mtime_ns=0, head_hash=b"")
        Source.objects.filter(pk__in={file.source_id for file in freed}).update(fingerprint=b"")
