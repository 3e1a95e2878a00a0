"""What pages show of a job beside its columns: why it stands so, where its time went, its bars, GPUs and first error.

The page and the live fragments are made of the same jobs (``load``), so that they look the same.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Exists, F, OuterRef, Q

from runs.charts import MAIN_TAGS
from runs.compare import flat
from runs.models import Event, Job, LogChunk, Series, SeriesChunk, SeriesTail, Transition
from runs.models.run import Status
from runs.readers.joblog import ERRORS, FIGURES

#: Stretches of the stage timeline and bars that a page draws, the newest.
DRAWN = 300
#: Of a GPU: (key, label, unit), beside utilization and memory, which are drawn.
GPU_FACTS = [("temperature", "Temperature", "°C"), ("power_watts", "Power", "W")]
#: What of a job is drawn as a chart, in this order, and by which names it is known, the better ones first.
CHARTS = ("loss", "lr", "speed")
CHARTED = {**FIGURES, **{tag: "loss" for tag in MAIN_TAGS if tag not in FIGURES}}


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stay in a stage: where it lies in the timeline (0 to 100), and how long it was in seconds."""

    stage: str
    at: float
    width: float
    seconds: float | None
    open: bool


@dataclass(slots=True)
class Stay:
    """All the time that a job spent in a stage."""

    stage: str
    seconds: float = 0
    times: int = 0
    open: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """A progress bar by its id; ``share`` is 0 to 1, None where it is not known."""

    id: str
    label: str
    kind: str
    share: float | None
    current: int | float | None
    total: int | float | None


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as it was last said; what was not said is None."""

    name: str
    utilization: float | None
    used: float | None
    total: float | None
    facts: list[tuple[str, float, str]]

    @property
    def busy(self) -> float | None:
        """Utilization, 0 to 1."""
        return None if self.utilization is None else max(0.0, min(1.0, self.utilization / 100))

    @property
    def share(self) -> float | None:
        """Used memory, 0 to 1."""
        return None if self.used is None or not self.total else max(0.0, min(1.0, self.used / self.total))


def load(ids: Collection[int]) -> dict[int, Job]:
    """Jobs by id with all that their pages show of them; two queries beside the jobs' own."""
    jobs = Job.objects.active().select_related("run", "source__trainer").defer("config").in_bulk(list(ids))
    dress(jobs.values())
    return jobs


def dress(jobs: Iterable[Job]) -> None:
    """Put on each job why it stands so (``status_reason``) and the first error in its log (``first_error``)."""
    by_id = {job.pk: job for job in jobs}
    changes = Transition.objects.filter(job__in=by_id).order_by("job_id", "-id").distinct("job_id")
    reasons = dict(changes.values_list("job", "reason"))
    firsts = {event.job_id: event for event in first_errors(by_id)}
    for job in by_id.values():
        job.status_reason = job.run.status_reason if job.stalled or speaks_for(job) else reasons.get(job.pk, "")
        first = firsts.get(job.pk)
        job.first_error = None if first is None or tells_of(first, job.error) else first


def tells_of(event: Event, error: str) -> bool:
    """Whether an event is the one that told of this error."""
    return bool(error) and (error in event.message or event.fields.get("error") == error)


def speaks_for(job: Job) -> bool:
    """Whether it was silence that decided, which is judged for the run."""
    return job.status in (Status.LOST, Status.UNKNOWN) and job.run.status == job.status


def first_errors(ids: Collection[int]) -> list[Event]:
    """The first error of each of these jobs that has one, in the shown generation of its log."""
    errors = Event.objects.filter(job__in=list(ids), level__in=ERRORS, generation=F("log_file__generation"))
    return list(errors.order_by("job_id", F("at").asc(nulls_last=True), "id").distinct("job_id"))


def timeline(job: Job) -> list[Stretch]:
    """The stages one after the other, as shares of the whole time."""
    stays = _stays(job)
    if not stays:
        return []
    begin, end = stays[0][1], _until(job, stays[-1][1])
    whole = end - begin
    drawn = []
    for (stage, at), (_, then) in zip(stays, [*stays[1:], ("", end)], strict=True):
        last = at == stays[-1][1] and then == end
        share = (max(0.0, at - begin) / whole, max(0.0, then - at) / whole) if whole > 0 else (0.0, 1.0)
        drawn.append(Stretch(stage, 100 * share[0], 100 * share[1], max(0.0, then - at), last and job.ended is None))
    return drawn


def stays(job: Job) -> list[Stay]:
    """The stages in the order in which they were first entered, each with all its time."""
    found: dict[str, Stay] = {}
    for stretch in timeline(job):
        stay = found.setdefault(stretch.stage, Stay(stretch.stage))
        stay.seconds += stretch.seconds or 0
        stay.times += 1
        stay.open = stretch.open
    return list(found.values())


def _stays(job: Job) -> list[tuple[str, float]]:
    """[stage, Unix seconds] pairs that make sense, the newest, in order."""
    said = [pair for pair in job.stages if isinstance(pair, list) and len(pair) == 2]
    pairs = [(str(stage), number) for stage, at in said if (number := _number(at)) is not None]
    return sorted(pairs[-DRAWN:], key=lambda pair: pair[1])


def _until(job: Job, last: float) -> float:
    """When the timeline ends: with the job, or with its last line."""
    ends = [job.ended] if job.ended else [job.last_event, job.last_line]
    return max([last, *(at.timestamp() for at in ends if at is not None)])


def bars(job: Job) -> list[Bar]:
    """Its progress bars, those that still move first, in the order in which they began."""
    found = []
    for name, bar in list(job.bars.items())[-DRAWN:]:
        if isinstance(bar, dict):
            value, current, total = (_number(bar.get(key)) for key in ("value", "current", "total"))
            share = value / 100 if value is not None else current / total if current is not None and total else None
            share = None if share is None else max(0.0, min(1.0, share))
            label, kind = str(bar.get("label") or bar.get("type") or name), str(bar.get("type") or "")
            found.append(Bar(str(name), label, kind, share, current, total))
    return sorted(found, key=lambda bar: bar.share is not None and bar.share >= 1)


def gpus(job: Job) -> list[Gpu]:
    """Every GPU that it told of; none where it told of none."""
    return [_gpu(place, said) for place, said in enumerate(job.gpus) if isinstance(said, dict)]


def _gpu(place: int, said: dict[str, Any]) -> Gpu:
    index, name = said.get("index", place), str(said.get("name") or "")
    facts = [(label, value, unit) for key, label, unit in GPU_FACTS if (value := _number(said.get(key))) is not None]
    title = f"GPU {index}" + (f", {name}" if name else "")
    used, total = (_number(said.get(key)) for key in ("memory_used", "memory_total"))
    return Gpu(title[:120], _number(said.get("utilization")), used, total, facts)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) else None


def settings_of(job: Job) -> list[tuple[str, Any]]:
    """Its configuration by dotted names, in their order: the database does not keep that of the log."""
    return sorted(flat(job.config).items()) if isinstance(job.config, dict) else [("config", job.config)]


def charts_of(job: Job) -> list[Series]:
    """The curves of its loss, learning rate and speed: those that its own log tells, else its run's."""
    mine = LogChunk.objects.filter(job=job).order_by().values("log_file")
    own = [Exists(of.objects.filter(series=OuterRef("pk"), log_file__in=mine)) for of in (SeriesTail, SeriesChunk)]
    named = Q(tag__name__in=CHARTED) | Q(tag__name__startswith="log/")
    rows = Series.objects.filter(named, run=job.run_id).annotate(own=own[0] | own[1]).select_related("tag").order_by("pk")
    best: dict[str, Series] = {}
    for series in sorted(rows, key=_charted_better):
        best.setdefault(CHARTED.get(_word_of(series), ""), series)
    return [best[figure] for figure in CHARTS if figure in best]


def _word_of(series: Series) -> str:
    """A metric's name; of one that a text log printed (log/loss, log/<folder>/loss) the last word."""
    name = series.tag.name
    return name.rpartition("/")[2] if name.startswith("log/") else name


def _charted_better(series: Any) -> tuple[bool, bool, int]:
    names = list(CHARTED)
    word = _word_of(series)
    return not series.own, series.tag.name.startswith("log/"), names.index(word) if word in CHARTED else len(names)


def last_line(job: Job) -> datetime | None:
    """When its log last said anything."""
    return job.last_line or job.last_event
