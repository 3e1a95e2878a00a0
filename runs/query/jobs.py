"""A query string as a question for jobs: one form behind the page and the API."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Count, F, Q

from runs.models import Job, Run, Trainer
from runs.models.job import JobQuerySet
from runs.models.run import Status
from runs.query import paging
from runs.query.asking import Question
from runs.query.chips import Chip, chips
from runs.query.fields import Asked, choice, whole
from runs.query.filters import words
from runs.query.grammar import shown
from runs.query.limits import bounded
from runs.query.sorting import Stretch
from runs.readers.progress import STATUSES

PAGE, LONGEST_PAGE = 50, 500
#: The one order: what said something last comes first, what never said anything comes last.
ORDER, KINDS = "-last_event", ("time", "none")
#: Kinds of errors that the filter offers.
OFFERED = 100
#: Where words are looked for.
WORDED = ("external_id", "stage", "message", "error_type", "error", "run__name")

#: What no row of a list shows of a job, and all that it does not show of the job's run.
OF_RUN = ("id", "name", "status", "stalled")
UNSHOWN = (
    "error_stack", "config", "gpus", "bars", "stages",
    *(f"run__{field.name}" for field in Run._meta.concrete_fields if field.name not in OF_RUN),
)


def status(text: str) -> str:
    """Ours, or the word of a job for it: completed, cancelled."""
    return choice(*Status.values, "stalled")(STATUSES.get(text, text))


@dataclass(frozen=True, slots=True)
class JobPage:
    """Rows of a list, and the cursors of the pages beside them."""

    rows: list[Job]
    after: str | None = None
    before: str | None = None


class JobQuery(Question):
    """Which jobs, and which page of them."""

    trainer = Asked(str, most=50)
    status = Asked(status, most=10)
    run = Asked(whole(1, 2**62), most=50)
    q = Asked(words, longest=200)
    error_type = Asked(str, longest=200)
    limit = Asked(whole(1, LONGEST_PAGE))
    after = Asked(str, longest=paging.LONGEST)
    before = Asked(str, longest=paging.LONGEST)

    def clean_trainer(self) -> list[Trainer]:
        """The trainers of these slugs, of those the user may see."""
        known = {one.slug: one for one in self.trainers}
        for slug in self.cleaned_data["trainer"]:
            if slug not in known:
                raise ValidationError(f"There is no trainer {shown(slug)} that you may see. Choose another one.")
        return [known[slug] for slug in self.cleaned_data["trainer"]]

    def clean(self) -> dict[str, Any]:
        """Read the cursors."""
        self.read_place(ORDER, KINDS)
        return self.cleaned_data

    @property
    def trainers(self) -> list[Trainer]:
        """The trainers of those sources."""
        return list({source.trainer.slug: source.trainer for source in self.sources.values()}.values())

    @cached_property
    def chips(self) -> list[Chip]:
        """Each condition as a sentence, with the query string without it."""
        return chips(self.query, self.cleaned_data) if self.is_valid() else []

    def jobs(self, *but: str) -> JobQuerySet:
        """The jobs asked for, in no order, whatever is asked under the names ``but``; none where the question is wrong."""
        if not self.is_valid():
            return Job.objects.none()
        jobs = Job.objects.visible_to(self.user, sources=self.sources.keys()).active()
        for name, condition in CONDITIONS.items():
            if name not in but and (value := self.cleaned_data[name]):
                jobs = jobs.filter(condition(value))
        return jobs

    def counts(self) -> dict[str, int]:
        """How many there are of each status, whichever is asked for, and of ``all``."""
        with bounded():
            counted = dict(self.jobs("status").order_by().values_list("status").annotate(Count("pk")))
        return {"all": sum(counted.values()), **counted}

    def error_types(self) -> list[str]:
        """The kinds of errors of these jobs, to choose from."""
        failed = self.jobs("status", "error_type").exclude(error_type="").order_by("error_type")
        with bounded():
            return list(failed.values_list("error_type", flat=True).distinct()[:OFFERED])

    def page(self) -> JobPage:
        """One page, newest first, each job with its run and trainer."""
        if not self.is_valid():
            return JobPage([])
        after, before = self.cleaned_data["after"], self.cleaned_data["before"]
        length = self.cleaned_data["limit"] or PAGE
        with bounded():
            places = paging.walk(self._stretches(), before or after, length + 1, down=True, backwards=bool(before))
            shown_, more = places[:length], len(places) > length
            if before:
                shown_.reverse()
            rows = self._rows([place.pk for place in shown_])
        if not shown_:
            return JobPage([])
        first, last = (paging.written(place, ORDER, KINDS[place.stretch]) for place in (shown_[0], shown_[-1]))
        return JobPage(rows, last if more or before else None, first if after or (before and more) else None)

    def _stretches(self) -> list[Stretch]:
        jobs = self.jobs()
        return [
            Stretch("time", lambda: jobs.filter(last_event__isnull=False).annotate(sort_value=F("last_event"))),
            Stretch("none", lambda: jobs.filter(last_event=None)),
        ]

    def _rows(self, ids: list[int]) -> list[Job]:
        found = Job.objects.select_related("run").defer(*UNSHOWN).in_bulk(ids)
        for job in found.values():
            job.source = self.sources[job.source_id]
        return [found[pk] for pk in ids if pk in found]


def _status(values: list[str]) -> Q:
    plain = Q(status__in=[word for word in values if word != "stalled"])
    return plain | Q(status=Status.RUNNING, run__status=Status.RUNNING, run__stalled=True) if "stalled" in values else plain


def _worded(text: str) -> Q:
    """Every word stands somewhere in what a job says of itself."""
    rule = Q()
    for word in text.split():
        anywhere = Q()
        for name in WORDED:
            anywhere |= Q(**{f"{name}__icontains": word})
        rule &= anywhere
    return rule


CONDITIONS: dict[str, Callable[[Any], Q]] = {
    "trainer": lambda trainers: Q(source__trainer__in=[one.pk for one in trainers]),
    "status": _status,
    "run": lambda ids: Q(run__in=ids),
    "q": _worded,
    "error_type": lambda text: Q(error_type=text),
}
