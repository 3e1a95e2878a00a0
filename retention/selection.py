"""Which rows of a numbered list somebody means: ``0 2 5``, ``0-5``, ``all``, ``old``.  Text in, numbers out."""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import timedelta

from runs.readers.naming import display

RANGE = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")
AGE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)([mhdw])")
#: No age and no time in the trash is longer.
LONGEST = timedelta(days=36_500)
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
#: Of a wrong selection this much is told.
NAMED, LENGTH = 10, 60


class Invalid(ValueError):
    """What is wrong with a selection, each token by its name; nothing of it holds."""


def select(said: str, count: int, old: Collection[int]) -> list[int]:
    """The numbers that ``said`` means in a list of ``count`` rows, each once, in order; none for an empty one.

    ``old`` are the rows that the word old stands for.  One wrong token makes all of it Invalid.
    """
    chosen: set[int] = set()
    wrong = []
    for token in said.lower().split():
        try:
            chosen |= _numbers(token, count, old)
        except Invalid as error:
            wrong.append(f"{_quoted(token)}: {error}")
    if wrong:
        more = [f"and {len(wrong) - NAMED} more"] if len(wrong) > NAMED else []
        raise Invalid("; ".join([*wrong[:NAMED], *more]))
    return sorted(chosen)


def _numbers(token: str, count: int, old: Collection[int]) -> set[int]:
    if token == "all":
        return set(range(count))
    if token == "old":
        return set(old)
    match = RANGE.fullmatch(token)
    if match is None:
        raise Invalid("is no number, no range such as 0-5, and neither all nor old")
    first, last = int(match[1]), int(match[2] or match[1])
    if first > last:
        raise Invalid(f"the larger number comes first; {last}-{first} is the range")
    if last >= count:
        raise Invalid(f"out of range, the rows are 0 to {count - 1}" if count else "out of range, there are no rows")
    return set(range(first, last + 1))


def by_number(said: str) -> bool:
    """Whether rows are meant by their place in the list, which holds only for the list that was looked at."""
    return any(RANGE.fullmatch(token) for token in said.lower().split())


def age(said: str) -> timedelta:
    """30m, 12h, 7d, 2w as a duration; Invalid for anything else, and for more than LONGEST."""
    match = AGE.fullmatch(said.strip().lower())
    if match is None:
        raise Invalid(f"{_quoted(said)}: is no age such as 30m, 12h, 7d or 2w")
    number = float(match[1])
    if number * timedelta(**{UNITS[match[2]]: 1}).total_seconds() > LONGEST.total_seconds():
        raise Invalid(f"{_quoted(said)}: is longer than {LONGEST.days:,}d")
    return timedelta(**{UNITS[match[2]]: number})


def _quoted(token: str) -> str:
    text = display(token.encode("utf-8", "backslashreplace"))
    return f'"{text}"' if len(text) <= LENGTH else f'"{text[:LENGTH]}…"'
