"""Parallel coordinates: an axis a parameter, a line a run.  Pure: parameters in, axes out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from runs.compare import flat, is_number

#: Axes that are drawn unless others are asked for.
AXES = 6
#: Distinct words on an axis; the rarer ones share one place.
WORDS = 24
OTHERS = "(others)"
#: Numbers above zero that span at least this much get a logarithmic axis.
LOG_SPAN = 100


@dataclass(frozen=True, slots=True)
class Axis:
    """A parameter or a metric of all runs: ``values`` are numbers, places in ``words``, or None where missing."""

    name: str
    kind: str
    values: list[float | None]
    words: tuple[str, ...] = ()


def axis(name: str, values: Sequence[Any], missing: object = None) -> Axis:
    """An axis of numbers where all values are, logarithmic where they span much; else one of words."""
    known = [value for value in values if value is not missing]
    if known and all(is_number(value) for value in known):
        numbers = [_finite(value) if value is not missing else None for value in values]
        return Axis(name, "log" if _spans_much(numbers) else "number", numbers)
    texts = [None if value is missing else str(value) for value in values]
    common = [word for word, _ in Counter(text for text in texts if text is not None).most_common(WORDS)]
    words = sorted(common, key=lambda word: (word.casefold(), word))
    if len({*texts} - {None, *words}):
        words.append(OTHERS)
    place = {word: float(number) for number, word in enumerate(words)}
    last = float(len(words) - 1)
    return Axis(name, "word", [None if text is None else place.get(text, last) for text in texts], tuple(words))


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _spans_much(numbers: Sequence[float | None]) -> bool:
    known = [number for number in numbers if number is not None]
    return bool(known) and min(known) > 0 and max(known) / LOG_SPAN >= min(known)


def by_name(params: Sequence[Mapping[str, Any]], missing: object) -> dict[str, list[Any]]:
    """The values of all runs for each parameter that any of them has."""
    columns: dict[str, list[Any]] = {}
    for place, one in enumerate(params):
        for name, value in flat(one).items():
            columns.setdefault(name, [missing] * len(params))[place] = value
    return columns


def telling(columns: Mapping[str, Sequence[Any]], missing: object) -> list[str]:
    """The parameters that differ, the most telling first: known of most runs, numbers, with several values.

    A word that is different in each run (an output folder, a name) tells nothing.
    """
    ranked = []
    for name, values in columns.items():
        known = [value for value in values if value is not missing]
        kinds = len({repr(value) for value in known})
        numbers = all(is_number(value) for value in known)
        if kinds > 1 and (numbers or kinds <= max(2, len(known) // 2)):
            ranked.append((-len(known), not numbers, name.casefold(), name))
    return [name for *_, name in sorted(ranked)]
