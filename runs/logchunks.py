"""The chunks that keep all lines of jobs' logs, redacted and compressed, by job, file and generation.

New lines first join a small last chunk, so that a live log rewrites a few kilobytes for each commit; a full one
joins the chunk before it, up to ``CHUNK_LINES`` or ``CHUNK_BYTES``.  A chunk counts its lines by level and event.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import msgspec
import zstandard
from django.db import connection

from runs import redact
from runs.facts import moment
from runs.models import LogChunk
from runs.readers import joblog
from runs.readers.records import Lines

_KEY_ENDS = re.compile(rb'"[ \t\r]*:')
CHUNK_LINES, CHUNK_BYTES, TAIL_LINES = 1_000, 1 << 20, 64
#: (job, file, generation) of a chunk.
Key = tuple[int, int, int]


def clean(lines: Lines) -> None:
    """Redact the lines in place; what holds no secret stays as it was written."""
    for at, raw in enumerate(lines.raws):
        if redact.may_hold(raw):
            record = msgspec.json.decode(raw)
            twice = len(_KEY_ENDS.findall(raw)) != _keys(record)
            if not twice and _is_harmless(record, 0):
                continue
            redacted = redact.value(record)
            if twice or redacted != record:
                lines.raws[at] = msgspec.json.encode(redacted)
    for at, event in enumerate(lines.events):
        if event and redact.may_hold(event.encode(errors="replace")):
            lines.events[at] = redact.text(event)[: joblog.MAX_EVENT]


def _keys(value: Any) -> int:
    """How many keys a record has: fewer than are written where one is written twice, and its first value is only in the text."""
    if isinstance(value, dict):
        return len(value) + sum(_keys(item) for item in value.values() if isinstance(item, dict | list))
    return sum(_keys(item) for item in value if isinstance(item, dict | list))


def _is_harmless(value: Any, depth: int) -> bool:
    """Whether only its keys looked suspicious ("tokens_per_second"), and name no secret: a quick look before a slow one."""
    if isinstance(value, dict):
        return depth < 20 and all(_names_no_secret(key) and _is_harmless(item, depth + 1) for key, item in value.items())
    if isinstance(value, list):
        return depth < 20 and all(_is_harmless(item, depth + 1) for item in value)
    return not isinstance(value, str) or not redact.may_hold(value.encode())


@lru_cache(maxsize=4096)
def _names_no_secret(key: str) -> bool:
    return bool(redact.value({key: "a"}) == {key: "a"})


def store(found: Iterable[tuple[Key, Lines]]) -> None:
    """Add lines to the ends of what is kept by (job, file, generation); they are clean.

    The caller holds the lock of the jobs' runs.
    """
    news: dict[Key, list[Lines]] = {}
    for key, lines in found:
        news.setdefault(key, []).append(lines)
    if not news:
        return
    last = _last_two(list(news))
    rows: list[LogChunk] = []
    outdated: list[int] = []
    for key, some in news.items():
        made, over = _grown(key, last.get(key, []), some)
        rows += made
        outdated += over
    if outdated:
        LogChunk.objects.filter(pk__in=outdated).delete()
    LogChunk.objects.bulk_create(
        rows, batch_size=500, update_conflicts=True, unique_fields=["job", "log_file", "generation", "start"],
        update_fields=["count", "first_at", "last_at", "levels", "kinds", "data"])


def _last_two(keys: list[Key]) -> dict[Key, list[LogChunk]]:
    """The last two chunks of each, the older one first."""
    query = (
        "SELECT c.* FROM unnest(%s::bigint[], %s::bigint[], %s::int[]) AS k(job, file, generation), LATERAL ("
        "SELECT * FROM runs_logchunk WHERE job_id = k.job AND log_file_id = k.file AND generation = k.generation "
        "ORDER BY start DESC LIMIT 2) c ORDER BY c.job_id, c.log_file_id, c.start")
    held: dict[Key, list[LogChunk]] = {}
    for chunk in LogChunk.objects.raw(query, [list(column) for column in zip(*keys, strict=True)]):
        held.setdefault((chunk.job_id, chunk.log_file_id, chunk.generation), []).append(chunk)
    return held


def _grown(key: Key, held: list[LogChunk], news: list[Lines]) -> tuple[list[LogChunk], list[int]]:
    """The chunks to write for new lines, and the ids of those that they make superfluous."""
    count = sum(len(lines.raws) for lines in news)
    start = held[-1].start + held[-1].count if held else 0
    joined: list[LogChunk] = []
    if held and held[-1].count <= TAIL_LINES and held[-1].count + count <= TAIL_LINES:
        joined = held[-1:]
    elif held and (held[-1].count <= TAIL_LINES or count > TAIL_LINES):
        joined = [chunk for chunk in held if _has_room(chunk)]
        joined = joined if joined and joined[-1] is held[-1] else []
    rows = _Rows(key, joined[0].start if joined else start)
    for chunk in joined:
        rows.take(chunk)
    for lines in news:
        for line in zip(lines.raws, lines.walls, lines.levels, lines.events, strict=True):
            rows.add(*line)
    made = rows.finish()
    kept = {row.start for row in made}
    return made, [chunk.pk for chunk in joined if chunk.start not in kept]


def _has_room(chunk: LogChunk) -> bool:
    return chunk.count < CHUNK_LINES and len(chunk.data) < CHUNK_BYTES // 8


class _Rows:
    """Cuts lines into chunks."""

    def __init__(self, key: Key, start: int) -> None:
        self.key, self.start = key, start
        self.made: list[LogChunk] = []
        self._begin()

    def _begin(self) -> None:
        self.raws: list[bytes] = []
        self.count = self.size = 0
        self.walls: list[float] = []
        self.kinds: Counter[tuple[str, str]] = Counter()

    def take(self, chunk: LogChunk) -> None:
        """All lines of a chunk that is there; it is the first, or fits behind the first."""
        data = unpack(chunk.data)
        if self.count + chunk.count > CHUNK_LINES or self.size + len(data) > CHUNK_BYTES:
            self._cut()
        self.raws.append(data)
        self.size += len(data)
        self.count += chunk.count
        self.walls += [at.timestamp() for at in (chunk.first_at, chunk.last_at) if at is not None]
        for level, events in chunk.levels.items():
            self.kinds.update({(level, event): count for event, count in events.items()})

    def add(self, raw: bytes, wall: float | None, level: str, event: str) -> None:
        """One line."""
        if self.count >= CHUNK_LINES or (self.count and self.size + len(raw) > CHUNK_BYTES):
            self._cut()
        self.raws.append(raw + b"\n")
        self.size += len(raw) + 1
        self.count += 1
        if wall is not None:
            self.walls.append(wall)
        self.kinds[level, event] += 1

    def finish(self) -> list[LogChunk]:
        """All chunks."""
        if self.count:
            self._cut()
        return self.made

    def _cut(self) -> None:
        job, file, generation = self.key
        levels: dict[str, dict[str, int]] = {}
        for (level, event), count in self.kinds.items():
            levels.setdefault(level, {})[event] = count
        self.made.append(LogChunk(
            job_id=job, log_file_id=file, generation=generation, start=self.start, count=self.count,
            first_at=moment(min(self.walls, default=None)), last_at=moment(max(self.walls, default=None)),
            levels=levels, kinds=sorted({event for _, event in self.kinds if event}),
            data=zstandard.compress(b"".join(self.raws), 3)))
        self.start += self.count
        self._begin()


def unpack(data: bytes | memoryview) -> bytes:
    """The lines of a chunk, each with its newline."""
    return zstandard.decompress(bytes(data))


def recount(run_ids: Iterable[int]) -> None:
    """Count the jobs' lines anew, after another generation of a file is shown."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE runs_job j SET line_count = coalesce((SELECT sum(c.count) FROM runs_logchunk c JOIN runs_logfile f "
            "ON f.id = c.log_file_id AND f.generation = c.generation WHERE c.job_id = j.id), 0) "
            "WHERE j.run_id = ANY(%s)", [list(run_ids)])
