"""The lines of jobs' logs as pages and the API have them: filtered, numbered through all files, downloaded.

They stand in chunks (runs/logchunks.py), which count their lines by level and event: a page that is filtered by
these opens only the chunks it shows.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
from django.db.models import F, QuerySet

from runs.logchunks import unpack
from runs.models import Job, LogChunk, LogFile
from runs.readers import joblog, plain

#: Seconds that a search looks for further lines.
SEARCH_SECONDS = 3.0
_NO_FIELDS = frozenset({"job_id", "timestamp", "ts", "level", "message", "msg", "event", "logger"})


@dataclass(frozen=True, slots=True)
class LogPage:
    """Lines of a log: ``total`` fit the filters; ``complete`` is False where a search was stopped by time."""

    entries: list[dict[str, Any]]
    total: int
    has_more: bool
    complete: bool = True


class Stream(NamedTuple):
    """One file of a job's log."""

    id: int
    name: str
    kind: str
    lines: int


@dataclass(slots=True)
class _Chunk:
    """A chunk's index; ``before`` counts the job's lines before it."""

    id: int
    count: int
    levels: dict[str, dict[str, int]]
    before: int = 0

    def fitting(self, level: str, event: str) -> int:
        """How many of its lines have this level and event ("" for any)."""
        some = [self.levels.get(level, {})] if level else self.levels.values()
        return sum(events.get(event, 0) if event else sum(events.values()) for events in some)


def streams(job: Job) -> list[Stream]:
    """The files that a job's log is kept from, in the order of ``view``."""
    counts: dict[int, int] = {}
    for file, count in _shown(job).values_list("log_file_id", "count"):
        counts[file] = counts.get(file, 0) + count
    files = LogFile.objects.in_bulk(list(counts))
    return [Stream(pk, files[pk].path_text.rpartition("/")[2], files[pk].kind, count)
            for pk, count in counts.items()]


def view(
    job: Job, *, level: str = "", event: str = "", search: str = "", error_type: str = "", offset: int = 0,
    limit: int = 100, tail: bool = False, stream: int | None = None,
) -> LogPage:
    """Lines that fit all filters: ``limit`` of them from ``offset`` on, or of the last ones with ``tail``.

    ``search`` finds a text in any case, ``error_type`` lines that tell an error of just this type; a search ends
    after SEARCH_SECONDS.  Lines are numbered from 1 on
    through all files of the job, or through the one of ``stream``.
    """
    level = joblog.level(level)
    chunks = _index(job, stream, filtered=bool(level or event))
    if search or error_type:
        return _searched(chunks, level, event, search, error_type, offset, limit, tail=tail)
    total = sum(chunk.fitting(level, event) for chunk in chunks)
    first = max(0, total - offset - limit) if tail else offset
    last = max(0, total - offset) if tail else offset + limit
    entries = _window(chunks, level, event, first, last)
    return LogPage(entries, total, first > 0 if tail else last < total)


def lines(job: Job, start: int, stop: int, *, stream: int | None = None) -> list[dict[str, Any]]:
    """The lines ``start + 1`` to ``stop``: what follows when ``start`` lines are known."""
    return _window(_index(job, stream), "", "", max(0, start), stop)


def download(job: Job, *, stream: int | None = None) -> Iterator[bytes]:
    """All lines as JSON lines, chunk by chunk; holds no connection between."""
    for chunk in _index(job, stream):
        yield from _data([chunk.id]).values()


def _shown(job: Job) -> QuerySet[LogChunk]:
    chunks = LogChunk.objects.filter(job=job, generation=F("log_file__generation"))
    return chunks.order_by("log_file__kind", "log_file__first_wall", "log_file_id", "start")


def _index(job: Job, stream: int | None, *, filtered: bool = False) -> list[_Chunk]:
    """All chunks; their events, of which a log may name another one in each line, only where some are asked for."""
    shown = _shown(job)
    if stream is not None:
        shown = shown.filter(log_file_id=stream)
    chunks, before = [], 0
    for pk, count, *levels in shown.values_list("id", "count", *(["levels"] if filtered else [])):
        chunks.append(_Chunk(pk, count, levels[0] if levels else {"": {"": count}}, before))
        before += count
    return chunks


def _data(ids: Sequence[int]) -> dict[int, bytes]:
    rows = dict(LogChunk.objects.filter(pk__in=ids).order_by().values_list("id", "data"))
    return {pk: unpack(rows[pk]) for pk in ids if pk in rows}


def _window(chunks: list[_Chunk], level: str, event: str, first: int, last: int) -> list[dict[str, Any]]:
    """The fitting lines ``first`` to ``last`` (of those that fit), from the chunks that hold them."""
    wanted: list[tuple[_Chunk, int, int]] = []
    seen = 0
    for chunk in chunks:
        fitting = chunk.fitting(level, event)
        if seen < last and seen + fitting > first:
            wanted.append((chunk, max(0, first - seen), min(fitting, last - seen)))
        seen += fitting
    data = _data([chunk.id for chunk, _, _ in wanted])
    entries: list[dict[str, Any]] = []
    for chunk, begin, end in wanted:
        raws = data.get(chunk.id, b"").split(b"\n")[:-1]
        if not level and not event:
            entries += [_entry(raws[at], chunk.before + at) for at in range(begin, min(end, len(raws)))]
            continue
        fits = (one for at, raw in enumerate(raws)
                if _may_fit(raw, level, event) and _fits(one := _entry(raw, chunk.before + at), level, event))
        entries += [one for place, one in enumerate(fits) if begin <= place < end]
    return entries


def _searched(
    chunks: list[_Chunk], level: str, event: str, search: str, error_type: str, offset: int, limit: int, *, tail: bool
) -> LogPage:
    """Lines that hold a text, or an error of a type; from the end backwards with ``tail``."""
    words, also = (error_type or search).lower(), search.lower() if error_type else ""
    until = time.monotonic() + SEARCH_SECONDS
    found: list[dict[str, Any]] = []
    total, complete = 0, True
    for chunk in reversed(chunks) if tail else chunks:
        if not chunk.fitting(level, event):
            continue
        if time.monotonic() > until:
            complete = False
            break
        hits = _hits(_data([chunk.id]).get(chunk.id, b""), words)
        all_fit = chunk.fitting(level, event) == chunk.count and not error_type
        for at, raw in reversed(hits) if tail else hits:
            wanted = offset <= total < offset + limit
            if wanted or not all_fit:
                one = _entry(raw, chunk.before + at)
                if not all_fit and not _fits(one, level, event):
                    continue
                if error_type and not (_tells(one, error_type) and (not also or also in _as_read(raw))):
                    continue
                if wanted:
                    found.append(one)
            total += 1
    return LogPage(found[::-1] if tail else found, total, total > offset + limit or not complete, complete)


def _hits(data: bytes, words: str) -> list[tuple[int, bytes]]:
    """The lines of a chunk that hold a text, with their places in it."""
    low = data.decode("utf-8", "replace").lower()
    if words not in low and "\\" not in low:
        return []
    raws = data.split(b"\n")
    if low.count("\n") != len(raws) - 1:
        low = "\n".join(raw.decode("utf-8", "replace").lower() for raw in raws)
    return [(at, raws[at]) for at, line in enumerate(low.split("\n"))
            if words in line or ("\\" in line and words in _as_read(raws[at]))]


def _as_read(raw: bytes) -> str:
    """A line's strings without JSON's escapes, in small letters."""
    record = _decoded(raw)
    return "\n".join(_strings(record)).lower()


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _may_fit(raw: bytes, level: str, event: str) -> bool:
    """Whether a line may have this level and event, by its bytes: most need not be decoded to see that they have not."""
    if b"\\u" in raw:  # escaped, it would not be found
        return True
    plainly = event.isascii() and event.isprintable() and not set(event) & set('"\\/')
    return (level[:4].lower().encode() in raw.lower()) and (not plainly or event.encode() in raw)


def _fits(entry: dict[str, Any], level: str, event: str) -> bool:
    return (not level or entry["level"] == level) and (not event or entry["event"] == event)


def _tells(entry: dict[str, Any], error_type: str) -> bool:
    """Whether a line tells an error of this type, in any case."""
    said = entry["fields"].get("error_type")
    return isinstance(said, str) and said.lower() == error_type.lower()


def _decoded(raw: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"msg": raw.decode("utf-8", "replace")}


def _entry(raw: bytes, place: int) -> dict[str, Any]:
    """A line as the API and pages have it."""
    record = _decoded(raw)
    found = joblog.entry(record)
    if found is None:
        message = plain.text(record.get("msg")) or plain.plain(raw.decode("utf-8", "replace"))[:4096]
        return _told(place, None, joblog.level(record.get("level")), message, "", {})
    fields = found.fields
    if fields is record:
        fields = {key: value for key, value in record.items() if key not in _NO_FIELDS}
    return _told(place, found.at, found.level, found.message, found.event, plain.tree(fields))


def _told(
    place: int, at: float | None, level: str, message: str, event: str, fields: dict[str, Any]
) -> dict[str, Any]:
    when = None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"line": place + 1, "timestamp": when, "level": level, "message": message, "event": event, "fields": fields}
