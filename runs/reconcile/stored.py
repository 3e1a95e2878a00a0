"""What the registry holds of a file: rows of points by series and part, decoded when asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from django.db import connection

from runs import chunks
from runs.models import LogFile, Series

#: A chunk's facts, in the order of COLUMNS.
Facts = tuple[int, int, int, float, float, float | None, float | None, int]
COLUMNS = "count, first_step, last_step, last, last_wall, minimum, maximum, nonfinite"
Columns = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(slots=True)
class Row:
    """A chunk or tail, without its points."""

    table: str
    start: int
    facts: Facts

    @property
    def end(self) -> int:
        """The position behind its last point."""
        return self.start + self.facts[0]


@dataclass(slots=True)
class StoredFile:
    """The points of a file's shown generation."""

    file: LogFile
    series: dict[str, Series]
    rows: dict[tuple[str, int], list[Row]] = field(default_factory=dict)

    def load(self) -> None:
        """Learn which rows there are; their points stay in the database."""
        names = {one.pk: name for name, one in self.series.items()}
        with connection.cursor() as cursor:
            for table in ("runs_serieschunk", "runs_seriestail"):
                cursor.execute(
                    f"SELECT series_id, part, start, {COLUMNS} FROM {table} WHERE series_id = ANY(%s) "
                    "AND log_file_id = %s AND generation = %s ORDER BY series_id, part, start",
                    [list(names), self.file.pk, self.file.generation])
                for series, part, start, *facts in cursor.fetchall():
                    self.rows.setdefault((names[series], part), []).append(Row(table, start, tuple(facts)))
        for rows in self.rows.values():
            rows.sort(key=lambda row: row.start)

    def points(self, tag: str, part: int, start: int, stop: int) -> Iterator[tuple[Row, Columns]]:
        """The rows that hold positions ``start`` to ``stop``, with all their points.

        Raises ValueError for a row that cannot be decoded.
        """
        for row in self.rows.get((tag, part), []):
            if row.start < stop and row.end > start:
                yield row, self._decode(tag, part, row)

    def _decode(self, tag: str, part: int, row: Row) -> Columns:
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT data FROM {row.table} WHERE series_id = %s AND log_file_id = %s AND generation = %s "
                "AND part = %s AND start = %s",
                [self.series[tag].pk, self.file.pk, self.file.generation, part, row.start])
            found = cursor.fetchone()
        if found is None:
            raise ValueError("its row went away")
        return chunks.unpack(bytes(found[0]))
