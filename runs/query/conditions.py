"""Conditions as filters: what the database is asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import cache
from itertools import product
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.search import SearchQueryField
from django.db.models import BooleanField, DecimalField, Exists, Expression, F, Func, JSONField, OuterRef, Q, TextField, Value
from django.db.models.functions import Coalesce
from django.db.models.lookups import IsNull

from runs.compiled import Compiled, Given
from runs.models import Series, Tag
from runs.query.grammar import FUNCTIONS, Condition, Metric, Param

#: The column of Series that holds each function's value.
HELD = dict(zip(FUNCTIONS, ("last", "minimum", "maximum"), strict=True))
LOOKUPS = {"=": "exact", "!=": "exact", "<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}
INFINITY = float("inf")
MISSING = object()
#: Dots in a parameter's name of which each may lead into a folder or belong to a key.
DOTS = 4
#: How Python and JSON write what has no quotes.
SPELLINGS = {
    "true": ["true", "True"],
    "false": ["false", "False"],
    "null": ["null", "None"],
    "none": ["null", "None", "none"],
}


class Infix(Func):
    """``left operator right``, true or false."""

    template = "(%(expressions)s)"
    output_field = BooleanField()

    def __init__(self, left: Any, operator: str, right: Any) -> None:
        super().__init__(left, right)
        self.arg_joiner = f" {operator} "


def among(field: str, given: str) -> Q:
    """The field is one of the values of a list that is given (compiled.py)."""
    return Q(Infix(F(field), "=", Func(Given(given), function="ANY", output_field=TextField())))


def tag_ids(names: Iterable[str]) -> dict[str, int]:
    """The ids of these metrics; one that no run has is missing."""
    wanted = set(names)
    return dict(_tags().rows(names=list(wanted))) if wanted else {}


@cache
def _tags() -> Compiled[Tag]:
    return Compiled(Tag.objects.filter(among("name", "names")).order_by().values_list("name", "pk"))


def measured(condition: Condition, tags: Mapping[str, int]) -> Q:
    """Runs that have the metric, and whose value compares so.  NaN is neither above nor below any number."""
    assert isinstance(condition.subject, Metric)
    held = HELD[condition.subject.of]
    series = Series.objects.filter(run=OuterRef("pk"), tag=tags.get(condition.subject.tag))
    if condition.op == "!=":
        return Q(Exists(series.filter(Q(**{f"{held}__lt": condition.value}) | Q(**{f"{held}__gt": condition.value}))))
    series = series.filter(**{f"{held}__{LOOKUPS[condition.op]}": condition.value})
    # PostgreSQL holds NaN for the greatest number
    return Q(Exists(series.filter(**{f"{held}__lte": INFINITY}) if condition.op in (">", ">=") else series))


def configured(condition: Condition) -> Q:
    """Runs that have the parameter, and whose value compares so: numbers as numbers, however they are written."""
    assert isinstance(condition.subject, Param)
    value = param(condition.subject.name)
    if isinstance(condition.value, Decimal):
        asked = Value(condition.value, DecimalField())
        if condition.op == "!=":
            return Q(IsNull(value, False)) & Q(Infix(as_number(value), "IS DISTINCT FROM", asked))
        return Q(Infix(as_number(value), condition.op, asked))
    text = str(condition.value)
    words = Value([text, *SPELLINGS.get(text.lower(), [])], ArrayField(TextField()))
    among = Func(words, function="ALL" if condition.op == "!=" else "ANY", output_field=TextField())
    return Q(Infix(as_text(value), "<>" if condition.op == "!=" else "=", among))


def param(name: str) -> Expression:
    """A parameter's value, NULL where the run has none: a key of this name, or nested ones."""
    paths = [
        Func(F("params"), Value(path, ArrayField(TextField())), arg_joiner=" #> ", template="(%(expressions)s)",
             output_field=JSONField())
        for path in _paths(name)
    ]
    return Coalesce(*paths) if len(paths) > 1 else paths[0]


def looked_up(params: Any, name: str) -> Any:
    """A parameter's value as ``param`` finds it; None where there is none."""
    for path in _paths(name):
        value = params
        for part in path:
            value = value.get(part, MISSING) if isinstance(value, dict) else MISSING
        if value is not MISSING:
            return value
    return None


def as_number(value: Expression) -> Func:
    """A parameter's value where it is a number, or a text that is one."""
    return Func(value, function="runs_number", output_field=DecimalField())


def as_text(value: Expression) -> Func:
    """A parameter's value as it is written."""
    return Func(value, function="runs_text", output_field=TextField())


def _paths(name: str) -> list[list[str]]:
    """The places at which ``a.b.c`` may lie: one key, a.b > c, a > b.c, a > b > c."""
    first, *rest = name.split(".")
    ways: Iterable[tuple[bool, ...]] = product((False, True), repeat=len(rest))
    if len(rest) > DOTS:
        ways = [(False,) * len(rest), (True,) * len(rest)]
    paths = []
    for way in ways:
        path = [first]
        for part, inside in zip(rest, way, strict=True):
            if inside:
                path.append(part)
            else:
                path[-1] += f".{part}"
        paths.append(path)
    return paths


def worded(text: str) -> Q:
    """Runs whose texts hold, for each of these words, one that begins so."""
    asked = Func(Value(text, TextField()), function="runs_prefixes", output_field=SearchQueryField())
    return Q(Infix(F("text__words"), "@@", asked))
