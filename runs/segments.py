"""What stands beside the points of a file: its parts as segments, texts, references to images."""

from __future__ import annotations

from collections import Counter
from typing import Any, TypeVar

from django.db import connection, models

from runs import redact
from runs.arrays import literals
from runs.facts import believable
from runs.models import Sample, TextSummary
from runs.readers.plain import plain
from runs.readers.records import Part
from runs.reading import Piece

#: Texts and references of one file that are stored; the rest stays on disk.
SAMPLES_KEPT, TEXTS_KEPT = 100_000, 10_000
SAMPLE_KINDS = frozenset({"image", "audio"})
T = TypeVar("T", bound=models.Model)

_SEGMENT_KINDS = ["int8", "int8", "int4", "int4", "text", "int8", "int8", "int8", "float8", "float8"]


def store(pieces: list[Piece]) -> None:
    """One row a part, grown by what these pieces hold of it."""
    rows = [row for piece in pieces for row in _rows(piece)]
    if not rows:
        return
    arrays = ", ".join(f"%s::{kind}[]" for kind in _SEGMENT_KINDS)
    grown = ", ".join(
        f"{name} = {choose}(runs_segment.{name}, EXCLUDED.{name})"
        for name, choose in [("first_step", "LEAST"), ("last_step", "GREATEST"),
                             ("first_wall", "LEAST"), ("last_wall", "GREATEST")])
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO runs_segment (run_id, log_file_id, generation, part, reason, \"offset\", first_step, "
            f"last_step, first_wall, last_wall) SELECT * FROM unnest({arrays}) "
            f"ON CONFLICT (log_file_id, generation, part) DO UPDATE SET {grown}", literals(rows))


def store_texts(pieces: list[Piece]) -> None:
    """Text summaries, redacted; at most TEXTS_KEPT of a file."""
    found = [(piece, text) for piece in pieces for block in piece.blocks for text in block.texts]
    rows = [
        TextSummary(**_where(piece), part=text.part, offset=text.offset, tag=plain(redact.text(piece.file.prefix + text.tag)),
                    step=text.step, wall=text.wall, text=plain(redact.text(text.text)), truncated=text.truncated)
        for piece, text in found
    ]
    _create(TextSummary, rows, TEXTS_KEPT)


def store_samples(pieces: list[Piece]) -> None:
    """References to images and sounds; at most SAMPLES_KEPT of a file."""
    found = [(piece, blob) for piece in pieces for block in piece.blocks for blob in block.blobs]
    rows = [
        Sample(**_where(piece), part=blob.part, offset=blob.offset, length=blob.length, kind=blob.kind,
               tag=plain(redact.text(piece.file.prefix + blob.tag)), step=blob.step, wall=blob.wall)
        for piece, blob in found if blob.kind in SAMPLE_KINDS
    ]
    _create(Sample, rows, SAMPLES_KEPT)


def _create(model: type[T], rows: list[T], limit: int) -> None:
    """Insert rows up to ``limit`` a file and generation."""
    if not rows:
        return
    files = {row.log_file_id for row in rows}  # type: ignore[attr-defined]
    stored = model._default_manager.filter(log_file_id__in=files).values_list("log_file_id", "generation")
    counts = Counter({(file, generation): n for file, generation, n in stored.annotate(n=models.Count("id")).order_by()})
    kept = []
    for row in rows:
        key = (row.log_file_id, row.generation)  # type: ignore[attr-defined]
        if counts[key] < limit:
            counts[key] += 1
            kept.append(row)
    model._default_manager.bulk_create(kept, batch_size=1000)


def _where(piece: Piece) -> dict[str, Any]:
    return {"run_id": piece.file.run_id, "log_file_id": piece.file.pk, "generation": piece.generation}


def _rows(piece: Piece) -> list[tuple[Any, ...]]:
    begun = {part.number: part for block in piece.blocks for part in block.parts}
    extents: dict[int, list[Any]] = {number: [None] * 4 for number in begun}
    for one in piece.points:
        extent = extents.setdefault(one.part, [None] * 4)
        walls = believable(one.walls)
        extent[0] = _chosen(min, extent[0], int(one.steps.min()))
        extent[1] = _chosen(max, extent[1], int(one.steps.max()))
        if len(walls):
            extent[2] = _chosen(min, extent[2], float(walls.min()))
            extent[3] = _chosen(max, extent[3], float(walls.max()))
    return [
        (piece.file.run_id, piece.file.pk, piece.generation, number, plain(_why(part))[:200], part.offset, *extents[number])
        for number in sorted(extents)
        for part in [begun.get(number, Part(number, "start", 0))]
    ]


def _why(part: Part) -> str:
    if part.reason == "steps went back":
        return f"steps went back: {part.tag[:80]} at step {part.step}, before {part.before}"
    return part.reason


def _chosen(choose: Any, held: Any, new: Any) -> Any:
    return new if held is None else choose(held, new)
