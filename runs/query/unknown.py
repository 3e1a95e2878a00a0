"""Metrics of a question that no run has, and which ones may have been meant."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from django.db.models import Exists, OuterRef, QuerySet

from runs.models import Run, Series, Tag
from runs.query.chips import PLACES
from runs.query.grammar import Metric

if TYPE_CHECKING:
    from runs.query.question import RunQuery

#: Names that are offered for one that is unknown.
OFFERED = 5


@dataclass(frozen=True, slots=True)
class Unknown:
    """A metric that no run has; ``others`` are called alike below a folder, each with its question."""

    tag: str
    others: list[tuple[str, str]]


def unknown(query: RunQuery) -> list[Unknown]:
    """The metrics of the conditions that none of the runs has which the user may see."""
    tags = dict.fromkeys(one.subject.tag for one in query.cleaned_data["metric"])
    return [
        Unknown(tag, [(name, _instead(query, tag, name)) for name in _names(query).filter(name__endswith=f"/{tag}")[:OFFERED]])
        for tag in tags if not _names(query).filter(name=tag).exists()
    ]


def _names(query: RunQuery) -> QuerySet[Tag, str]:
    visible = Run.objects.visible_to(query.user, sources=query.sources.keys()).active()
    seen = Series.objects.filter(tag=OuterRef("pk"), run__in=visible.order_by().values("pk"))
    return Tag.objects.filter(Exists(seen)).order_by("name").values_list("name", flat=True)


def _instead(query: RunQuery, tag: str, name: str) -> str:
    """The query string that asks for another metric."""
    data = query.query.copy()
    for place in PLACES:
        data.pop(place, None)
    asked = query.cleaned_data["metric"]
    data.setlist("metric", [
        str(replace(one, subject=Metric(name, one.subject.of)) if one.subject.tag == tag else one) for one in asked
    ])
    return data.urlencode()
