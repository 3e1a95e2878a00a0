"""A checked question as a filter on runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db.models import Exists, OuterRef, Q
from django.utils.timezone import now

from runs.models import Bookmark
from runs.models.run import RunQuerySet, Status
from runs.query.conditions import configured, measured, worded
from runs.query.grammar import Unclear, shown

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User


def words(text: str) -> str:
    """A text with something to look for: white space and signs part words, and are none (migration 0009)."""
    if not re.search(r"[^\s!-/:-@\[-`{-~]", text):
        raise Unclear(f"{shown(text)} holds no letter or digit to look for. Write a word, or the beginning of one.")
    return text


def filtered(runs: RunQuerySet, asked: Mapping[str, Any], tags: Mapping[str, int], user: User | AnonymousUser) -> RunQuerySet:
    """The runs for which every condition holds; several trainers, datasets, statuses or runs: any of them."""
    for name, condition in CONDITIONS.items():
        if asked.get(name):
            runs = runs.filter(condition(asked[name]))
    for one in asked["metric"]:
        runs = runs.filter(measured(one, tags))
    if asked["bookmarked"]:
        marks = Bookmark.objects.filter(run=OuterRef("pk"))
        mine = asked["bookmarked"] == "mine"
        runs = runs.filter(Exists(marks.filter(owner=user.pk) if mine else marks.filter(shared=True)))
    return runs


def _status(words: list[str]) -> Q:
    plain = Q(status__in=[word for word in words if word != "stalled"])
    return plain | Q(status=Status.RUNNING, stalled=True) if "stalled" in words else plain


def _age(word: str) -> Q:
    """As the colours say it (settings)."""
    fresh, old = (now() - timedelta(days=days) for days in (settings.TRAINMON_FRESH_DAYS, settings.TRAINMON_OLD_DAYS))
    return {
        "fresh": Q(modified__gt=fresh),
        "recent": Q(modified__lte=fresh, modified__gt=old),
        "old": Q(modified__lte=min(fresh, old)),
        "unknown": Q(modified=None),
    }[word]


def _all(of: Callable[[Any], Q]) -> Callable[[list[Any]], Q]:
    def every(values: list[Any]) -> Q:
        rule = Q()
        for value in values:
            rule &= of(value)
        return rule
    return every


CONDITIONS: dict[str, Callable[[Any], Q]] = {
    "trainer": lambda trainers: Q(source__trainer__in=[one.pk for one in trainers]),
    "dataset": lambda datasets: Q(dataset__in=[one.pk for one in datasets]),
    "status": _status,
    "q": worded,
    "name": lambda text: Q(text__name__icontains=text),
    "tag": lambda tags: Q(tags__contains=tags),
    "param": _all(configured),
    "age": _age,
    "newer": lambda span: Q(modified__gte=now() - span),
    "older": lambda span: Q(modified__lt=now() - span),
    "pinned": lambda _: Q(pinned=True),
    "missing": lambda _: Q(files_missing=True),
    "demo": lambda word: Q(demo=word == "1"),
    "run": lambda ids: Q(pk__in=ids),
}
