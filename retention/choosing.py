"""Which runs a cleanup is about: those that were named, or all that fit a filter.  One meaning for page, API and console."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from retention.candidates import Candidate, candidates
from retention.telling import reason_of_age
from runs.models.run import RunQuerySet
from runs.status import duration


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody asks for: ids, or a filter; of that the ``most`` oldest."""

    ids: tuple[int, ...] = ()
    trainer: str = ""
    dataset: int | None = None
    status: str = ""
    older_than: timedelta | None = None
    most: int | None = None
    dataset_name: str = ""

    @property
    def filters(self) -> bool:
        """Whether it says anything about runs that are not named; one that says nothing means no run."""
        return bool(self.trainer or self.dataset or self.status or self.older_than is not None or self.most)

    def __str__(self) -> str:
        if self.ids:
            return f"{len(self.ids):,} by hand"
        dataset = self.dataset_name or self.dataset
        said = {"trainer": self.trainer, "dataset": dataset, "status": self.status, "at most": self.most}
        if self.older_than is not None:
            said["older than"] = duration(self.older_than.total_seconds())
        return ", ".join(f"{name} {value}" for name, value in said.items() if value)


def listable(runs: RunQuerySet) -> RunQuerySet:
    """Of these runs those that a list offers: their files are where they were."""
    return runs.active().filter(files_missing=False)


def listed(runs: RunQuerySet, asked: Question, at: datetime) -> list[Candidate]:
    """The runs to choose from, the oldest first."""
    terms: dict[str, Any] = {"source__trainer__slug": asked.trainer, "dataset": asked.dataset, "status": asked.status}
    rows = candidates(listable(runs).filter(**{name: value for name, value in terms.items() if value}))
    if asked.older_than is not None:
        rows = [row for row in rows if row.is_older(asked.older_than, at)]
    return rows[: asked.most]


def chosen(runs: RunQuerySet, asked: Question, at: datetime) -> list[tuple[Candidate, str]]:
    """The runs that are meant, each with the reason; named ones also where they have been cleaned up already."""
    if asked.ids:
        return [(row, "chosen by hand") for row in candidates(runs.filter(pk__in=asked.ids))]
    if not asked.filters:
        return []
    old = asked.older_than is not None
    return [(row, (reason_of_age(row, at) if old else "") or f"fits {asked}") for row in listed(runs, asked, at)]
