"""Conditions in words, each with the way to be rid of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.http import QueryDict

from runs.query.grammar import FUNCTIONS, Condition, Metric
from runs.status import duration

#: What a chip's cross takes along: a place belongs to the runs that were found.
PLACES = ("after", "before", "page")
SIGNS = {"<=": "≤", ">=": "≥", "!=": "≠"}
AGES: dict[str, Callable[[], str]] = {
    "fresh": lambda: f"changed in the last {settings.TRAINMON_FRESH_DAYS:g} d",
    "recent": lambda: f"unchanged for {settings.TRAINMON_FRESH_DAYS:g} to {settings.TRAINMON_OLD_DAYS:g} d",
    "old": lambda: f"unchanged for {settings.TRAINMON_OLD_DAYS:g} d",
    "unknown": lambda: "without a file",
}


@dataclass(frozen=True, slots=True)
class Chip:
    """A condition: ``sentence`` for people, ``without`` the query string that leaves it out, ``name`` its key."""

    sentence: str
    without: str
    name: str


def chips(data: QueryDict, asked: Mapping[str, Any]) -> list[Chip]:
    """The chips of a checked question."""
    made = []
    for name, word in SENTENCES.items():
        values = asked.get(name)
        if not values:
            continue
        if name == "run":
            made.append(Chip(f"{len(values):,} chosen run{'s' if len(values) > 1 else ''}", _without(data, name), name))
        elif isinstance(values, list):
            texts = list(dict.fromkeys(text for text in map(str.strip, data.getlist(name)) if text))
            made += [Chip(word(value), _without(data, name, text), name) for value, text in zip(values, texts, strict=True)]
        else:
            made.append(Chip(word(values), _without(data, name), name))
    return made


def _without(data: QueryDict, name: str, text: str | None = None) -> str:
    left = data.copy()
    for place in PLACES:
        left.pop(place, None)
    kept = [value for value in left.getlist(name) if text is not None and value.strip() != text]
    left.setlist(name, kept)
    return left.urlencode()


def condition(one: Condition) -> str:
    """last loss < 0.5"""
    sign = SIGNS.get(one.op, one.op)
    if isinstance(one.subject, Metric):
        return f"{FUNCTIONS[one.subject.of]} {one.subject.tag} {sign} {one.value:g}"
    return f"{one.subject.name} {sign} {one.value}"


def _span(span: timedelta) -> str:
    days = span.total_seconds() / 86400
    return f"{days:g} d" if days >= 1 else duration(span.total_seconds())


SENTENCES: dict[str, Any] = {
    "trainer": lambda one: f"trainer is {one.name}",
    "dataset": lambda one: f"dataset is {one.name}",
    "status": lambda word: f"status is {word}",
    "q": lambda text: f"says “{text}”",
    "name": lambda text: f"name has “{text}”",
    "tag": lambda text: f"tagged {text}",
    "param": condition,
    "metric": condition,
    "age": lambda word: AGES[word](),
    "newer": lambda span: f"changed in the last {_span(span)}",
    "older": lambda span: f"unchanged for {_span(span)}",
    "bookmarked": lambda word: "bookmarked by me" if word == "mine" else "bookmarked for the team",
    "pinned": lambda _: "pinned",
    "missing": lambda _: "files are missing",
    "error_type": lambda text: f"error is {text}",
    "demo": lambda word: "demo data" if word == "1" else "without demo data",
    "run": None,
}
