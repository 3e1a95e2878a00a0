"""Walking through the stretches of an order, from a place on: pages that stay right when rows come and go.

A cursor is such a place, written down: the order it belongs to, the stretch, the value and
the id of a run.  It leads nowhere that the user may not go: the runs are filtered anyway.
"""

from __future__ import annotations

import hashlib
import json
import math
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import (
    BigIntegerField,
    BooleanField,
    DateTimeField,
    DecimalField,
    DurationField,
    F,
    FloatField,
    Func,
    Q,
    TextField,
    Value,
)

from runs.query.conditions import Infix
from runs.query.grammar import Unclear
from runs.query.sorting import Stretch

EPOCH, MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
#: Each kind of value, to text and back, exactly.
CODECS: dict[str, tuple[Callable[[Any], str], Callable[[str], Any]]] = {
    "int": (str, lambda text: _within(int(text))),
    "float": (float.hex, lambda text: _number(float.fromhex(text))),
    "decimal": (str, lambda text: _decimal(text)),
    "text": (str, lambda text: _clean(text)),
    "time": (lambda at: str((at - EPOCH) // MICROSECOND), lambda text: EPOCH + int(text) * MICROSECOND),
    "span": (lambda span: str(span // MICROSECOND), lambda text: int(text) * MICROSECOND),
    "none": (lambda _: "", lambda _: None),
}
#: The fields that hand each kind to the database.
FIELDS: dict[str, type] = {
    "int": BigIntegerField, "float": FloatField, "decimal": DecimalField,
    "text": TextField, "time": DateTimeField, "span": DurationField,
}
LONGEST = 4000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run stands in an order."""

    stretch: int
    value: Any
    pk: int


def walk(
    stretches: Sequence[Stretch], at: Place | None, limit: int, *, down: bool, backwards: bool = False
) -> list[Place]:
    """The places after this one (before it, nearest first, where ``backwards``), at most so many."""
    found: list[Place] = []
    numbers = range(len(stretches))
    falling = down != backwards
    for number in reversed(numbers) if backwards else numbers:
        if at and (number > at.stretch if backwards else number < at.stretch):
            continue
        kind, runs = stretches[number].kind, stretches[number].runs()
        keys = ("pk",) if kind == "none" else ("sort_value", "pk")
        if at and number == at.stretch:
            runs = runs.filter(_beyond(kind, at, falling))
        runs = runs.order_by(*(F(key).desc() if falling else F(key).asc() for key in keys))
        for row in runs.values_list(*keys)[: limit - len(found)]:
            found.append(Place(number, row[0] if len(row) > 1 else None, row[-1]))
        if len(found) >= limit:
            break
    return found


def _beyond(kind: str, at: Place, falling: bool) -> Any:
    if kind == "none":
        return Q(pk__lt=at.pk) if falling else Q(pk__gt=at.pk)
    here, there = _pair(F("sort_value"), F("pk")), _pair(Value(at.value, FIELDS[kind]()), Value(at.pk))
    # one comparison of rows is one range of an index, which OR is not
    return Infix(here, "<" if falling else ">", there)


def _pair(*expressions: Any) -> Func:
    return Func(*expressions, template="(%(expressions)s)", output_field=BooleanField())


def written(place: Place, order: str, kind: str) -> str:
    """A place as a cursor of this order."""
    text = CODECS[kind][0](place.value)
    raw = json.dumps([_mark(order), place.stretch, text, place.pk], separators=(",", ":")).encode()
    return urlsafe_b64encode(raw).decode().rstrip("=")


def read(cursor: str, order: str, kinds: Sequence[str]) -> Place:
    """The place that a cursor names, else Unclear."""
    try:
        if len(cursor) > LONGEST:
            raise ValueError
        mark, stretch, text, pk = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if mark != _mark(order):
            raise Unclear("The place in the list belongs to another order of it. Start from the first page.")
        if type(stretch) is not int or type(pk) is not int or type(text) is not str or stretch < 0:
            raise ValueError
        return Place(stretch, CODECS[kinds[stretch]][1](text), _within(pk))
    except Unclear:
        raise
    except (ValueError, TypeError, IndexError, ArithmeticError, RecursionError):
        raise Unclear("The place in the list cannot be read. Start from the first page.") from None


def _mark(order: str) -> str:
    return hashlib.sha256(order.encode(errors="surrogatepass")).hexdigest()[:12]


def _within(number: int) -> int:
    if not -(2**63) <= number < 2**63:
        raise ValueError
    return number


def _number(value: float) -> float:
    if math.isnan(value):
        raise ValueError
    return value


def _decimal(text: str) -> Decimal:
    value = Decimal(text)
    if not value.is_finite() or abs(value.adjusted()) > 1000:
        raise ValueError
    return value


def _clean(text: str) -> str:
    text.encode()  # no lone surrogates
    if "\0" in text:
        raise ValueError
    return text
