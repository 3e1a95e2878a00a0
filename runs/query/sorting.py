"""The order of a list: stretches of runs, each sorted by a value of one kind, and at the end those without one.

So a missing value stands last in both directions, NaN counts as missing, and the runs that
have a value are walked along an index.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import (
    Case,
    Count,
    Exists,
    Expression,
    F,
    FilteredRelation,
    FloatField,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    TextField,
    Value,
    When,
)
from django.db.models.functions import Cast, Coalesce, Left, Lower, NullIf

from runs.charts import MAIN_TAGS
from runs.models import Note, Series
from runs.models.run import RunQuerySet, Status
from runs.query.conditions import HELD, INFINITY, as_number, as_text, param
from runs.query.grammar import Metric, Param

#: What wants attention comes first when a list is sorted by status.
URGENCY = [
    Status.RUNNING,
    Status.FAILED,
    Status.LOST,
    Status.KILLED,
    Status.UNKNOWN,
    Status.QUEUED,
    Status.FINISHED,
]
#: Characters of a text that decide its place; cursors hold them.
SORTED_BY = 200


@dataclass(frozen=True, slots=True)
class Stretch:
    """Runs (or jobs) with a ``sort_value`` of one kind: int, float, text, time, span, decimal; none: by their id alone.

    ``runs`` makes the query: most pages end before the last stretch begins.
    """

    kind: str
    runs: Callable[[], QuerySet[Any]]


def kinds(key: Metric | Param | str) -> list[str]:
    """The kind of value of each stretch."""
    if isinstance(key, Metric):
        return ["float", "none"]
    if isinstance(key, Param):
        return ["decimal", "text", "none"]
    kind, _, never_missing = PLAIN[key]
    return [kind] if never_missing else [kind, "none"]


def stretches(runs: RunQuerySet, key: Metric | Param | str, tags: Mapping[str, int]) -> list[Stretch]:
    """These runs, cut by whether they have what they are sorted by."""
    if isinstance(key, Metric):
        return _by_metric(runs, tags.get(key.tag), HELD[key.of])
    if isinstance(key, Param):
        return _by_param(runs, param(key.name))
    if key == "metric":
        return _by_main(runs, [tags[name] for name in MAIN_TAGS if name in tags])
    kind, value, never_missing = PLAIN[key]
    valued = runs.annotate(sort_value=value())
    return [Stretch(kind, lambda: valued)] if never_missing else _parted(kind, valued)


def _parted(kind: str, valued: RunQuerySet) -> list[Stretch]:
    missing = Q(sort_value__isnull=True)
    if kind != "float":
        return [Stretch(kind, lambda: valued.filter(~missing)), Stretch("none", lambda: valued.filter(missing))]
    # PostgreSQL holds NaN for the greatest number
    number, none = Q(sort_value__lte=INFINITY), missing | Q(sort_value__gt=INFINITY)
    return [Stretch(kind, lambda: valued.filter(number)), Stretch("none", lambda: valued.filter(none))]


def _by_metric(runs: RunQuerySet, tag: int | None, held: str) -> list[Stretch]:
    def valued() -> RunQuerySet:
        series = FilteredRelation("series", condition=Q(series__tag=tag))
        return runs.annotate(sorting=series).annotate(sort_value=F(f"sorting__{held}")).filter(sort_value__lte=INFINITY)

    numbers = Series.objects.filter(run=OuterRef("pk"), tag=tag, **{f"{held}__lte": INFINITY})
    return [Stretch("float", valued), Stretch("none", lambda: runs.filter(~Exists(numbers)))]


def _by_main(runs: RunQuerySet, main: list[int]) -> list[Stretch]:
    """By the last value of the first of these metrics that a run has."""
    if len(main) < 2:
        return _by_metric(runs, main[0] if main else None, "last")
    for number, tag in enumerate(main):
        runs = runs.annotate(**{f"main_{number}": FilteredRelation("series", condition=Q(series__tag=tag))})
    values = [F(f"main_{number}__last") for number in range(len(main))]
    return _parted("float", runs.annotate(sort_value=Coalesce(*values)))


def _by_param(runs: RunQuerySet, value: Expression) -> list[Stretch]:
    """Numbers first, then words, in both directions."""
    number, text = as_number(value), as_text(value)
    words = runs.annotate(sort_value=_sorted_text(text), sort_number=number)
    return [
        Stretch("decimal", lambda: runs.annotate(sort_value=number).filter(sort_value__isnull=False)),
        Stretch("text", lambda: words.filter(sort_number__isnull=True, sort_value__isnull=False)),
        Stretch("none", lambda: words.filter(sort_value__isnull=True)),
    ]


def _urgency() -> Case:
    ranks = [When(status=status, then=Value(rank)) for rank, status in enumerate(URGENCY)]
    return Case(*ranks, default=Value(len(URGENCY)), output_field=IntegerField())


def _sorted_text(of: str | Expression) -> Expression:
    return Lower(Left(of, SORTED_BY), output_field=TextField())


def _notes() -> Coalesce:
    notes = Note.objects.filter(run=OuterRef("pk")).order_by().values("run").annotate(n=Count("pk")).values("n")
    return Coalesce(Subquery(notes), Value(0), output_field=IntegerField())


def _progress() -> Case:
    share = Cast(F("step"), FloatField()) / NullIf(Cast(F("total_steps"), FloatField()), Value(0.0))
    return Case(When(early_stopped=False, then=share), default=None, output_field=FloatField())


#: The columns that every run has: the kind of their values, the value, whether none is ever missing.
PLAIN: dict[str, tuple[str, Callable[[], Any], bool]] = {
    "status": ("int", _urgency, True),
    "name": ("text", lambda: _sorted_text("name"), True),
    "trainer": ("text", lambda: _sorted_text("source__trainer__name"), True),
    "dataset": ("text", lambda: _sorted_text("dataset__name"), False),
    "step": ("int", lambda: F("step"), False),
    "progress": ("float", _progress, False),
    "epoch": ("float", lambda: F("epoch"), False),
    "metric": ("float", lambda: Value(None, FloatField()), False),
    "duration": ("span", lambda: Coalesce(F("ended"), F("last_event")) - F("started"), False),
    "started": ("time", lambda: F("started"), False),
    "modified": ("time", lambda: F("modified"), False),
    "size": ("int", lambda: F("size"), True),
    "points": ("int", lambda: F("point_count"), True),
    "files": ("int", lambda: F("event_file_count"), True),
    "gpu": ("text", lambda: NullIf(_sorted_text("gpu_type"), Value("", TextField())), False),
    "host": ("text", lambda: NullIf(_sorted_text("host"), Value("", TextField())), False),
    "notes": ("int", _notes, True),
}
