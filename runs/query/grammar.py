"""What people write in a query string, taken apart: text in, values out, no database.

::

    metric      last(train/loss)   min(loss)   max("a<b")   loss        (alone: its last value)
    condition   metric op number       loss<0.5   min(eval/loss) <= 1e-3
                name op value          lr=0.1     opt.lr<1e-3   optimizer=adam   "a=b"="0.1"
    op          = != < <= > >=
    key         a column, a metric with its function, or param:name
    span        12h  30m  7d  2w

A name with signs in it stands in double quotes, in which ``\\"`` is a quote and ``\\\\`` a
backslash.  A parameter's value in quotes is compared as text, a bare number as a number.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

#: The functions of a metric, and the words for them.
FUNCTIONS = {"last": "last", "min": "lowest", "max": "highest"}
#: What others keep and we do not: refused, so that a mean is not taken for a name.
FOREIGN = {"mean", "avg", "average", "median", "sum", "first", "count", "std", "var"}
#: As written -> as meant.
OPERATORS = {"<=": "<=", ">=": ">=", "!=": "!=", "==": "=", "<": "<", ">": ">", "=": "=", "≤": "<=", "≥": ">=", "≠": "!="}
#: Characters of one condition; the longest name of a series fits.
LONGEST = 2500

_OPERATOR = re.compile("|".join(map(re.escape, OPERATORS)))
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,9})?", re.ASCII)
_CALL = re.compile(r"([a-z]+)\((.*)\)", re.DOTALL)
_SPAN = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([smhdw])", re.ASCII)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_LONGEST_SPAN = 100 * 366 * 86400


class Unclear(ValueError):
    """What was written cannot be understood: the message names it, and what to write instead."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A value that each run has of a metric: its last, lowest or highest."""

    tag: str
    of: str = "last"

    def __str__(self) -> str:
        plain = self.tag == self.tag.strip() and not self.tag.startswith('"')
        return f"{self.of}({self.tag if plain else quoted(self.tag)})"


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter; dots lead into nested ones."""

    name: str

    def __str__(self) -> str:
        return f"param:{self.name}"


@dataclass(frozen=True, slots=True)
class Condition:
    """Something compared with a value: a number for metrics, a number or a text for parameters."""

    subject: Metric | Param
    op: str
    value: float | Decimal | str

    def __str__(self) -> str:
        name = self.subject.tag if isinstance(self.subject, Metric) else self.subject.name
        left = quoted(name)
        if isinstance(self.subject, Metric):
            left = f"{self.subject.of}({left})"
        right = quoted(self.value) if isinstance(self.value, str) else str(self.value)
        return f"{left}{self.op}{right}"


def metric_condition(text: str) -> Condition:
    """``loss<0.5``, ``min(eval/loss) <= 1e-3``."""
    left, op, right = _parts(text, "loss<0.5")
    return Condition(_metric(left, text), op, number(right))


def param_condition(text: str) -> Condition:
    """``lr=0.1``, ``opt.lr<1e-3``, ``optimizer=adam``."""
    left, op, right = _parts(text, "lr=0.1")
    name, value = _name(left, text), _value(right)
    if isinstance(value, str) and op not in ("=", "!="):
        raise Unclear(f"{shown(text)}: {op} compares numbers, and {shown(right)} is none. Write = or != for words.")
    return Condition(Param(name), op, value)


def key(text: str) -> Metric | Param | str:
    """A sort or column key: a metric, a parameter, or else a word that must be a column's."""
    _bounded(text)
    if text.startswith("param:"):
        if not (name := text.removeprefix("param:")):
            raise Unclear("param: needs a name, as in param:lr.")
        return Param(name)
    return _metric(text, text) if _CALL.fullmatch(text.strip()) else text


def span(text: str) -> timedelta:
    """``7d``, ``12h``, ``30m``: up to a hundred years."""
    found = _SPAN.fullmatch(text.strip())
    if not found:
        raise Unclear(f"{shown(text)} is no span of time. Write a number and s, m, h, d or w, as in 7d or 12h.")
    seconds = float(found[1]) * _UNITS[found[2]]
    if seconds > _LONGEST_SPAN:
        raise Unclear(f"{shown(text)} is more than a hundred years. Write a shorter span.")
    return timedelta(seconds=seconds)


def number(text: str) -> float:
    """A finite number; one that a float cannot hold is refused, not rounded to 0 or infinity."""
    if not _NUMBER.fullmatch(text):
        if text.lower().lstrip("+-") in ("nan", "inf", "infinity"):
            raise Unclear(f"{shown(text)} cannot be compared with. Write a finite number.")
        raise Unclear(f"{shown(text)} is no number. Write one as in 0.5 or 1e-3; a name with signs in it is "
                      'quoted, as in "a<b".')
    value = float(text)
    if math.isinf(value):
        raise Unclear(f"{shown(text)} is too large. Numbers go up to 1.8e308.")
    if value == 0 and re.search("[1-9]", re.split("[eE]", text)[0]):
        raise Unclear(f"{shown(text)} is too small. Numbers go down to 5e-324.")
    return value


def quoted(name: str) -> str:
    """A name in quotes, as ``_QUOTED`` reads it."""
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def shown(text: str) -> str:
    """A piece of what was written, for a message."""
    return f"“{text if len(text) <= 80 else text[:79] + '…'}”"


def _parts(text: str, example: str) -> tuple[str, str, str]:
    """What stands before the operator, the operator, and what stands after it."""
    _bounded(text)
    place = 0
    # quotes before the operator hide their signs; later ones belong to the value
    while operator := _OPERATOR.search(text, place):
        quote = _QUOTED.search(text, place, len(text))
        if quote is None or quote.start() > operator.start() or not _opens(text, quote.start()):
            left, right = text[: operator.start()].strip(), text[operator.end() :].strip()
            if not left or not right:
                raise Unclear(f"{shown(text)} lacks a {'value' if left else 'name'}. Write it as in {example}.")
            return left, OPERATORS[operator[0]], right
        place = quote.end()
    raise Unclear(f"{shown(text)} compares nothing. Write it with one of = != < <= > >=, as in {example}.")


def _opens(text: str, at: int) -> bool:
    """Whether a quote at this place begins a name: at the start, or after ``last(``."""
    return text[:at].strip() in ("", *(f"{function}(" for function in FUNCTIONS))


def _metric(text: str, whole: str) -> Metric:
    call = _CALL.fullmatch(text.strip())
    if call and call[1] in FUNCTIONS:
        return Metric(_name(call[2].strip(), whole), call[1])
    if call and call[1] in FOREIGN:
        raise Unclear(f"{shown(whole)}: {call[1]} is not kept of a metric. Use last, min or max; quote the name "
                      f"if it is the metric's own.")
    if call and text == whole:
        raise Unclear(f"{shown(whole)}: a metric is sorted and shown by last(…), min(…) or max(…).")
    return Metric(_name(text.strip(), whole))


def _name(text: str, whole: str) -> str:
    if not text:
        raise Unclear(f"{shown(whole)} names nothing. Write a name, in quotes if it has signs in it.")
    if not text.startswith('"'):
        return text
    found = _QUOTED.fullmatch(text)
    if not found or not found[1]:
        raise Unclear(f"{shown(whole)}: the name in quotes does not end, or is empty. "
                      r'Inside quotes write \" for a quote and \\ for a backslash.')
    return _unquoted(found[1])


def _unquoted(text: str) -> str:
    return re.sub(r'\\(["\\])', r"\1", text)


def _value(text: str) -> Decimal | str:
    """What a parameter is compared with: text in quotes, else a number where it is one."""
    if found := _QUOTED.fullmatch(text):
        return _unquoted(found[1])
    if not _NUMBER.fullmatch(text):
        return text
    number(text)
    return Decimal(text)


def _bounded(text: str) -> None:
    if len(text) > LONGEST:
        raise Unclear(f"{shown(text)} is {len(text):,} characters long. At most {LONGEST:,} are read.")
