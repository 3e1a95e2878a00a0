"""What the registry keeps of a run, as JSON lines: ``{"of": "note", "id": 7, "text": ...}``.

A line a row, with references before what refers to them: by id within the dump, by name for what runs share
(tags, datasets, users).  Points and log lines are their packed chunks, bit for bit, as base64.  What other apps
keep of the run (runs/hooks.py) follows as ``{"of": "costs", "data": {...}}``.  runs/loading.py brings it back.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.db import models

from runs import hooks
from runs.models import (
    Bookmark,
    Checkpoint,
    Dataset,
    Event,
    EventId,
    Job,
    LogChunk,
    LogFile,
    Note,
    Run,
    Sample,
    Segment,
    Series,
    SeriesChunk,
    SeriesTail,
    Source,
    Tag,
    TextSummary,
    Trainer,
    Transition,
)

#: Rows that are in memory at a time; a chunk of points takes about 20 KB.
TOGETHER = 200


@dataclass(frozen=True, slots=True)
class Kind:
    """Rows of one model that belong to a run, found by ``via``.

    ``key`` is by what they are known: a row whose key the registry has, in this model or one ``beside``, is there.
    """

    name: str
    model: type[models.Model]
    key: tuple[str, ...]
    via: str = "run"
    beside: tuple[type[models.Model], ...] = ()


#: In the order of their lines.
KINDS = [
    Kind("logfile", LogFile, ("path",)),
    Kind("job", Job, ("external_id",)),
    Kind("segment", Segment, ("log_file", "generation", "part")),
    Kind("series", Series, ("tag",)),
    # how points are cut into chunks may differ: those of a file are taken together or not at all
    Kind("serieschunk", SeriesChunk, ("series", "log_file"), "series__run", (SeriesTail,)),
    Kind("seriestail", SeriesTail, ("series", "log_file"), "series__run", (SeriesChunk,)),
    Kind("textsummary", TextSummary, ("log_file",)),
    Kind("sample", Sample, ("log_file",)),
    Kind("event", Event, ("log_file", "generation", "offset", "kind")),
    Kind("logchunk", LogChunk, ("job", "log_file"), "job__run"),
    Kind("checkpoint", Checkpoint, ("said",)),
    Kind("transition", Transition, ("old", "new", "at")),
    Kind("eventid", EventId, ("event_id",), "log_file__run"),
    # its text may have been edited since
    Kind("note", Note, ("author", "created")),
    Kind("bookmark", Bookmark, ("owner",)),
]
#: What a line need not say, since the run that is loaded has it.
OF_THE_RUN = (Run, Source, Trainer)
#: What runs share, by the field that names it.
NAMED: dict[type[models.Model], str] = {Tag: "name", Dataset: "name", User: "username"}


def dump(run: Run) -> Iterator[bytes]:
    """Every line; the first is the run's own."""
    source = run.source
    yield _line("run", {**_fields(run), "trainer": source.trainer.slug, "root": source.root})
    for kind in KINDS:
        yield from lines(kind.model, run)
    for hook in hooks.registered():
        for data in hook.dump(run):
            yield _line(hook.name, {"data": data})


def lines(model: type[models.Model], run: Run) -> Iterator[bytes]:
    """The lines of what is stored in one model."""
    (kind,) = (kind for kind in KINDS if kind.model is model)
    return (_line(kind.name, _fields(row)) for row in rows_of(kind, run))


def rows_of(kind: Kind, run: Run) -> Iterator[models.Model]:
    """The rows of a kind, a few in memory at a time."""
    names = [field.name for field in kind.model._meta.concrete_fields if field.related_model in NAMED]
    rows = kind.model._default_manager.filter(**{kind.via: run}).order_by("pk")
    return rows.select_related(*names).iterator(TOGETHER) if names else rows.iterator(TOGETHER)


def _fields(row: models.Model) -> dict[str, Any]:
    """Every column of a row as JSON has it."""
    found: dict[str, Any] = {}
    for field in row._meta.concrete_fields:
        target: Any = field.related_model
        if target in OF_THE_RUN:
            continue
        if target in NAMED:
            named = getattr(row, field.name)
            found[field.name] = getattr(named, NAMED[target]) if named else None
        else:
            found[field.name] = _value(getattr(row, field.attname))
    return found


def _value(value: Any) -> Any:
    if isinstance(value, bytes | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value


def _line(of: str, fields: dict[str, Any]) -> bytes:
    try:
        text = json.dumps({"of": of, **fields}, ensure_ascii=False, allow_nan=False)
    except ValueError:  # a number in a JSON column that is too large for a float
        text = json.dumps({"of": of, **_finite(fields)}, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return _value(value)
