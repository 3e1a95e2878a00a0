"""Bringing back what a dump holds of a run and the registry does not: after a loss, a purge, a move to another site.

What is there stays as it is: loading twice changes nothing the second time.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Any

from django.core.exceptions import ValidationError
from django.db import DataError, IntegrityError, models, transaction
from django.utils.timezone import now

from runs import hooks, series, signals
from runs.dump import KINDS, NAMED, OF_THE_RUN, TOGETHER, Kind
from runs.models import Dataset, EventId, LogFile, Run, Source, Tag, Trainer, Transition
from runs.rows import save_all

#: What only people can say of a run; the rest follows from its files.
SAID_BY_PEOPLE = ("tags", "pinned")
#: What the registry says itself, whatever the dump says.
OUR_OWN = {"id", "path", "name", "lifecycle_stage", "files_missing", "points_dropped", "version", "created"}

Line = dict[str, Any]


class Unreadable(ValueError):
    """A line of a dump that none of ours would be."""


@dataclass(slots=True)
class Loaded:
    """How many rows of each kind were missing and are back; ``unknown`` are kinds that nobody here knows."""

    rows: dict[str, int] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)


def load(lines: Iterable[bytes], run: Run) -> Loaded:
    """Bring back into the registry what it lacks of this run, all of it or, where a line is unreadable, nothing."""
    with transaction.atomic():
        run = Run.objects.select_for_update(of=("self",)).select_related("source__trainer").get(pk=run.pk)
        loading = Loading(run)
        try:
            loading.take(map(_parsed, lines))
        except Unreadable:
            raise
        except (KeyError, TypeError, ValueError, AttributeError, ValidationError, DataError, IntegrityError) as error:
            raise Unreadable(f"the dump has a row that fits nowhere: {error!r}") from error
        loading.finish()
    return loading.loaded


def _parsed(line: bytes) -> Line:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise Unreadable(f"the dump has a line that is no JSON: {error}") from None
    if not isinstance(found, dict) or not isinstance(found.get("of"), str):
        raise Unreadable("the dump has a line that does not say what it is of")
    return found


class Loading:
    """One dump on its way in."""

    def __init__(self, run: Run) -> None:
        self.run, self.loaded = run, Loaded()
        self.above = {Run: run.pk, Source: run.source_id, Trainer: run.source.trainer_id}
        self.kinds = {kind.name: kind for kind in KINDS}
        #: What was there before anything was brought back.
        self.known = {kind.name: self._known(kind) for kind in KINDS}
        self.ids: dict[tuple[type[models.Model], Any], int] = {}
        self.names: dict[tuple[type[models.Model], str], int] = {}
        #: Ids in the dump of files that the registry has read otherwise: all that is of them is there.
        self.foreign: set[int] = set()

    def take(self, lines: Iterator[Line]) -> None:
        """All lines, kind after kind."""
        is_first = True
        for of, some in groupby(lines, key=lambda line: str(line["of"])):
            hook = hooks.named(of)
            if of == "run":
                if not is_first:
                    raise Unreadable("the dump has more than one run")
                self.about_the_run(next(some))
            elif of in self.kinds:
                self.rows(self.kinds[of], some)
            elif hook:
                hook.load(self.run, (line["data"] for line in some))
            else:
                self.loaded.unknown.add(of)
            is_first = False

    def about_the_run(self, line: Line) -> None:
        """A run of which nothing is known takes all that the dump says, another what people said of it."""
        run = self.run
        is_bare = run.status_since is None and run.started is None and not run.log_files.exists()
        self._know(Dataset, [line.get("dataset")])
        for column in Run._meta.concrete_fields:
            if column.name in OUR_OWN or column.name not in line or column.related_model in OF_THE_RUN:
                continue
            if is_bare or (column.name in SAID_BY_PEOPLE and not getattr(run, column.name)):
                setattr(run, column.attname, self._value(column, line[column.name]))
        if is_bare:
            run.pulse.pop("key", None)  # it names a file by the id that it had

    def rows(self, kind: Kind, lines: Iterator[Line]) -> None:
        """Insert the rows that are missing, some at a time."""
        known = self.known[kind.name]
        while some := list(islice(lines, TOGETHER)):
            for column in kind.model._meta.concrete_fields:
                if column.related_model in NAMED:
                    self._know(column.related_model, [line.get(column.name) for line in some])
            pairs = [(line, row) for line in some if (row := self._row(kind, line)) is not None]
            missing = [(line, row) for line, row in pairs if _key(kind, row) not in known]
            # another run of the trainer may have counted the same event since
            kind.model._default_manager.bulk_create([row for _, row in missing], ignore_conflicts=kind.model is EventId)
            self._set_what_was_set_on_insertion(kind, missing)
            for line, row in pairs:
                self._remember(kind, line, known.get(_key(kind, row), row.pk), is_new=_key(kind, row) not in known)
            self.loaded.rows[kind.name] = self.loaded.rows.get(kind.name, 0) + len(missing)

    def finish(self) -> None:
        """Counts follow what is there now."""
        if self.loaded.rows.get("serieschunk") or self.loaded.rows.get("seriestail"):
            self.run.point_count, self.run.points_dropped = series.recount(self.run.pk), None
        self.run.version += 1
        self.run.save()
        signals.tell(runs={self.run.pk: self.run.version}, jobs={})

    def _row(self, kind: Kind, line: Line) -> models.Model | None:
        """The row of a line; None where what it belongs to is not here, or was read from its file anew."""
        if line.get("log_file") in self.foreign and kind.model is not LogFile:
            return None
        values: dict[str, Any] = {}
        for column in kind.model._meta.concrete_fields:
            target: Any = column.related_model
            if column.primary_key and not target:
                continue
            if target in OF_THE_RUN:
                values[column.attname] = self.above[target]
            elif column.name in line:
                values[column.attname] = self._value(column, line[column.name])
                if values[column.attname] is None and not column.null:
                    if target:
                        return None
                    raise Unreadable(f"the dump has a {kind.name} without {column.name}")
        row = kind.model(**values)
        if isinstance(row, Transition):
            row.processed = row.processed or now()  # whoever was to hear of it has
        return row

    def _value(self, column: Any, value: Any) -> Any:
        target = column.related_model
        if value is None:
            return None
        if target in NAMED:
            return self.names.get((target, value))
        return self.ids.get((target, value)) if target else column.to_python(value)

    def _known(self, kind: Kind) -> dict[tuple[Any, ...], Any]:
        """What the registry has of a kind: key -> primary key."""
        found: dict[tuple[Any, ...], Any] = {}
        for model in (kind.model, *kind.beside):
            columns = [model._meta.get_field(name) for name in kind.key]
            rows = model._default_manager.filter(**{kind.via: self.run}).order_by()
            for *key, pk in rows.values_list(*(column.attname for column in columns), "pk").iterator(2000):  # type: ignore[union-attr]
                found[tuple(_hashable(one) for one in key)] = pk
        return found

    def _know(self, model: Any, names: list[str | None]) -> None:
        """Learn the ids of what is shared; tags and datasets are made where they are not there, users never."""
        new = {name for name in names if isinstance(name, str)} - {name for of, name in self.names if of is model}
        if not new:
            return
        if model is Tag:
            series.ensure_tags(new)
        if model is Dataset:
            trainer = self.run.source.trainer
            Dataset.objects.bulk_create([Dataset(trainer=trainer, name=name) for name in new], ignore_conflicts=True)
        rows = model._default_manager.filter(**{f"{NAMED[model]}__in": new})
        if model is Dataset:
            rows = rows.filter(trainer=self.run.source.trainer)
        self.names |= {(model, name): pk for name, pk in rows.values_list(NAMED[model], "pk")}

    def _remember(self, kind: Kind, line: Line, pk: Any, *, is_new: bool) -> None:
        """Which row stands for an id of the dump from now on."""
        if "id" not in line:
            return
        self.ids[kind.model, line["id"]] = pk
        if kind.model is LogFile and not is_new:
            there = LogFile.objects.values_list("generation", "offset").get(pk=pk)
            if there != (line["generation"], line["offset"]):
                self.foreign.add(line["id"])

    def _set_what_was_set_on_insertion(self, kind: Kind, rows: list[tuple[Line, models.Model]]) -> None:
        """Times that Django sets to now for every new row."""
        columns = [column for column in kind.model._meta.concrete_fields if getattr(column, "auto_now_add", False)]
        for column in columns:
            for line, row in rows:
                setattr(row, column.attname, column.to_python(line[column.name]))
        if columns:
            save_all([row for _, row in rows], [column.name for column in columns])


def _key(kind: Kind, row: models.Model) -> tuple[Any, ...]:
    return tuple(_hashable(getattr(row, kind.model._meta.get_field(name).attname)) for name in kind.key)  # type: ignore[union-attr]


def _hashable(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value
