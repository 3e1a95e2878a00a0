"""How jobs stand after the lines of a block, and the points in them.

Points come from progress events, from ``training.step`` and ``job.progress``: every number
in them but steps, percentages and ETA under the source's own name (``loss``, ``lr``), and
from ``gpu`` in any line as ``gpu/0/utilization`` and so on.  A line without a step counts
as at its job's last known step in the part (0 before any); one without a readable time has
the wall time NaN.

A line that changes something (a status, a stage, an error, a configuration, a sample, a
checkpoint) gives a Said.  Steps give none: how the job stands after them is one Said
"progress" before the job's next Said or at the block's end, with all that is known of the
job's progress.  ``status`` in it is "running" where the steps are the first sign of that.

A part of a job begins with its next start record (once it has started or has points), with
any return from an end, and where a tag's step falls below its last 64 in the part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from runs.readers import joblog, plain
from runs.readers.joblog import Entry
from runs.readers.progress import ENDED, STATUSES
from runs.readers.records import Block, Figures, Part, Points, Said, TooMuch

MAX_JOBS = 10_000
MAX_TAGS = 10_000
#: A log whose steps run backwards would be cut at each line: further on nothing is cut.
MAX_PARTS = 1_000
WINDOW = 64
MAX_BARS = 50
#: How far back the speed is measured from: at least so many steps, or so long.
PACE_STEPS, PACE_SECONDS = 100, 60.0


class Job(msgspec.Struct):
    """What is remembered of a job from block to block.

    ``top`` is the part's largest step, None before its first point; ``windows`` holds the
    last 64 steps of each tag in the part, () where it has none yet.  ``speed`` is what its log
    says; ``pace`` are wall time and step of two points that lie back, to measure it.
    """

    part: int = 0
    began: bool = False
    step: int | None = None
    top: int | None = None
    total_steps: int | None = None
    epoch: float | None = None
    eta_seconds: float | None = None
    status: str | None = None
    stage: str | None = None
    error: str | None = None
    sample: str = ""
    checkpoint: str = ""
    loss: float | None = None
    lr: float | None = None
    speed: float | None = None
    gpus: list[dict[str, Any]] = []
    bars: dict[str, dict[str, Any]] = {}
    correlation: str = ""
    pace: tuple[float, int, float, int] | None = None
    windows: dict[str, tuple[int, ...]] = {}

    def copy(self) -> Job:
        """A copy to change; the windows, cards and bars are replaced, never changed."""
        return msgspec.structs.replace(self, windows=dict(self.windows), bars=dict(self.bars))

    def figures(self, at: float | None) -> Figures:
        """Its newest figures; the speed measured where its log says none."""
        return Figures(self.loss, self.lr, self.speed or self.measured(at), self.gpus, dict(self.bars), self.correlation)

    def measured(self, at: float | None) -> float | None:
        """Steps a second over its last steps."""
        if self.pace is None or self.step is None or at is None:
            return None
        seconds, steps = at - self.pace[0], self.step - self.pace[1]
        return steps / seconds if seconds > 0 and steps > 0 else None

    def remaining(self, at: float | None) -> float | None:
        """Seconds until its end: as its log says, else by its speed."""
        if self.eta_seconds is not None or self.status in ENDED:
            return self.eta_seconds
        speed = self.speed or self.measured(at)
        if not speed or speed < 0 or self.total_steps is None or self.step is None:
            return None
        return max(0, self.total_steps - self.step) / speed

    def walk(self, at: float | None) -> None:
        """Move the points that its speed is measured from: they lie 20 to 200 steps or up to minutes back."""
        if at is None or self.step is None:
            return
        pace = self.pace
        if pace is None or self.step < pace[3] or at < pace[2]:
            self.pace = (at, self.step, at, self.step)
        elif self.step - pace[3] >= PACE_STEPS or at - pace[2] >= PACE_SECONDS:
            self.pace = (pace[2], pace[3], at, self.step)


@dataclass(slots=True)
class Column:
    """Points of one tag in one part."""

    steps: list[int] = field(default_factory=list)
    walls: list[float] = field(default_factory=list)
    values: list[int | float] = field(default_factory=list)


class Fold:
    """Collects what a block's lines say; ``finish`` puts the rest of it in the Block."""

    def __init__(self, jobs: dict[str, Job], part: int, block: Block) -> None:
        self.jobs = jobs
        self.part = part
        self.block = block
        self.tags = sum(len(job.windows) for job in jobs.values())
        self.columns: dict[str, dict[str, Column]] = {}
        self.waiting: dict[str, tuple[Entry, int, str | None, float | None]] = {}

    def line(self, found: Entry, offset: int) -> None:
        """One line of the log."""
        if found.at is not None:
            if self.block.first_wall is None:
                self.block.first_wall = found.at
            self.block.last_wall = found.at
        job = self.jobs.get(found.job) or self._new(found.job)
        if found.shape == "progress":
            self._state(job, found, offset)
        elif found.event in joblog.STEPS:
            self._step(job, found, offset)
        else:
            self._event(job, found, offset)

    def finish(self) -> None:
        """Say what waits, and hand the points over."""
        for name in list(self.waiting):
            self._say_waiting(name)
        for name in list(self.columns):
            self._close(name)

    def _new(self, name: str) -> Job:
        if len(self.jobs) >= MAX_JOBS:
            raise TooMuch(f"more than {MAX_JOBS} jobs in one file")
        job = self.jobs[name] = Job()
        return job

    # Three kinds of line

    def _step(self, job: Job, found: Entry, offset: int) -> None:
        """A record of one step."""
        running = None
        if job.status in (None, "queued"):
            job.status = running = "running"
        stage = joblog.stage(found) if "stage" in found.fields else None
        said = found.level in joblog.ERRORS or (stage is not None and stage != job.stage)
        if said and found.job in self.waiting:
            self._say_waiting(found.job)
        self._progress(job, found, offset)
        if said:
            event = found.event if found.level in joblog.ERRORS else f"stage.{stage}"
            self._say(found, offset, event, running or "", running)
        else:
            self._wait(found, offset, running)

    def _state(self, job: Job, found: Entry, offset: int) -> None:
        """A progress event: it repeats the whole state, so look for what is new in it."""
        word = plain.text(found.fields.get("status"), 40).lower()
        status = STATUSES.get(word)
        if job.status in ENDED and status not in ENDED:
            self._attempt(found.job, job, offset)
        news = self._news(job, found, word, status)
        if news and found.job in self.waiting:
            self._say_waiting(found.job)
        job.status = status or job.status
        self._progress(job, found, offset)
        if job.status in ENDED:
            job.eta_seconds = None
        if news:
            self._say(found, offset, news, word, status)
        else:
            self._wait(found, offset, None)

    def _event(self, job: Job, found: Entry, offset: int) -> None:
        """Any other line."""
        word, status = joblog.word(found)
        if found.event in joblog.STARTS and (job.began or job.top is not None):
            self._attempt(found.job, job, offset)
        elif job.status in ENDED and status == "running":
            self._attempt(found.job, job, offset)
        job.began = job.began or found.event in joblog.STARTS
        total, stage = joblog.total_steps(found), joblog.stage(found)
        news = total not in (None, job.total_steps) or stage not in (None, job.stage)
        shown = "gpu" in found.fields or "gpu" in found.record or "progress_bar" in found.fields
        if shown:
            self._cards(job, found)
        if news or joblog.says_something(found):
            self._say(found, offset, found.event or "log", word, status)
        job.status = status or job.status
        job.stage = stage or job.stage
        job.total_steps = job.total_steps if total is None else total
        if status in ENDED:
            job.eta_seconds = None
        self._add(job, found, joblog.gpus(found), offset)
        if shown and job.status not in (None, "queued", *ENDED) and not (news or joblog.says_something(found)):
            self._wait(found, offset, None)

    @staticmethod
    def _news(job: Job, found: Entry, word: str, status: str | None) -> str:
        """The event that a progress event amounts to, "" where only the step is new."""
        news = ""
        for kind in ("checkpoint", "sample"):
            path = plain.text(found.fields.get(f"{kind}_path"), 4096)
            if path and path != getattr(job, kind):
                setattr(job, kind, path)
                news = f"training.{kind}"
        error = plain.text(found.fields.get("error")) or None
        if error and error != job.error:
            news = "job.error"
        job.error = error
        stage = joblog.stage(found)
        if stage and stage != job.stage:
            news = f"stage.{stage}"
        if status and status != job.status:
            news = f"job.{word}"
        return news

    # How a job stands

    def _progress(self, job: Job, found: Entry, offset: int) -> None:
        fields = found.fields
        step = joblog.step(fields)
        if step is not None:
            job.step = step
        total = joblog.total_steps(found)
        if total is not None:
            job.total_steps = total
        eta = joblog.eta(fields)
        if eta is not None:
            job.eta_seconds = eta
        if "epoch" in fields:
            job.epoch = plain.number(fields["epoch"])
        if "stage" in fields:
            job.stage = joblog.stage(found) or job.stage
        job.walk(found.at)
        points = joblog.scalars(found)
        for tag, value in points:
            name = joblog.FIGURES.get(tag)
            if name is not None and (tag == name or name not in fields):
                number = plain.number(value)
                setattr(job, name, math.inf if number is None else number)
        if "gpu" in fields or "gpu" in found.record:
            points += joblog.gpus(found)
            self._cards(job, found)
        elif "progress_bar" in fields or "gpu_utilization" in fields:
            self._cards(job, found)
        if "correlation_id" in found.record:
            job.correlation = joblog.correlation(found)
        self._add(job, found, points, offset)

    @staticmethod
    def _cards(job: Job, found: Entry) -> None:
        """The newest figures of GPUs, and a progress bar."""
        job.gpus = joblog.gpu_cards(found, job.gpus)
        bar = joblog.bar(found)
        if bar is not None and (bar[0] in job.bars or len(job.bars) < MAX_BARS):
            job.bars = {**job.bars, bar[0]: bar[1]}

    def _wait(self, found: Entry, offset: int, status: str | None) -> None:
        waiting, since = self.waiting.get(found.job), found.at
        if waiting is not None and status is None:
            status, since = waiting[2:]
        self.waiting[found.job] = (found, offset, status, since)

    def _say_waiting(self, name: str) -> None:
        found, offset, status, since = self.waiting.pop(name)
        job = self.jobs[name]
        self.block.said.append(Said(
            offset, found.at, "progress", found.level, found.message, name, status,
            status or "", job.stage, job.step, job.total_steps, job.epoch, job.remaining(found.at),
            figures=job.figures(found.at), part=job.part, since=since if status else None,
        ))

    def _say(self, found: Entry, offset: int, event: str, word: str, status: str | None) -> None:
        """What one line says; before it, how the job stood until then."""
        if found.job in self.waiting:
            self._say_waiting(found.job)
        fields, job = found.fields, self.jobs[found.job]
        job.correlation = joblog.correlation(found) or job.correlation
        self.block.said.append(Said(
            offset, found.at, event[: joblog.MAX_EVENT], found.level, found.message,
            found.job, status, word, joblog.stage(found), joblog.step(fields),
            joblog.total_steps(found), plain.number(fields.get("epoch")), joblog.eta(fields),
            **joblog.error(found), fields=plain.tree(fields), figures=job.figures(found.at), part=job.part, since=None,
        ))

    # Points and parts

    def _add(
        self, job: Job, found: Entry, points: list[tuple[str, int | float]], offset: int
    ) -> None:
        if not points:
            return
        step, name = job.step or 0, found.job
        if job.top is not None and step < job.top:
            self._cut_where_back(name, job, step, points, offset)
        elif job.top is None or step > job.top:
            job.top = step
        wall = float("nan") if found.at is None else found.at
        columns = self.columns.get(name)
        if columns is None:
            columns = self.columns[name] = {}
        for tag, value in points:
            column = columns.get(tag)
            if column is None:
                column = columns[tag] = self._column(job, tag)
            column.steps.append(step)
            column.walls.append(wall)
            column.values.append(value)

    def _column(self, job: Job, tag: str) -> Column:
        if tag not in job.windows:
            if self.tags >= MAX_TAGS:
                raise TooMuch(f"more than {MAX_TAGS} tags in one file")
            self.tags += 1
            job.windows[tag] = ()
        return Column()

    def _cut_where_back(
        self, name: str, job: Job, step: int, points: list[tuple[str, int | float]], offset: int
    ) -> None:
        columns = self.columns.get(name, {})
        for tag, _ in points:
            window = _window(job.windows.get(tag, ()), columns.get(tag))
            if window and step < min(window):
                self._part(name, job, Part(0, "steps went back", offset, tag, step, min(window)))
                job.top = step
                return

    def _attempt(self, name: str, job: Job, offset: int) -> None:
        """The job's next attempt: nothing of the last one's progress holds."""
        if name in self.waiting:
            self._say_waiting(name)
        self._part(name, job, Part(0, "session", offset))
        job.began = False
        job.loss = job.lr = job.speed = job.pace = None
        job.gpus, job.bars = [], {}
        job.step = job.top = job.epoch = job.eta_seconds = job.error = None

    def _part(self, name: str, job: Job, part: Part) -> None:
        if self.part >= MAX_PARTS - 1:
            return
        self._close(name)
        self.part += 1
        job.part = self.part
        job.windows = dict.fromkeys(job.windows, ())
        self.block.parts.append(
            Part(self.part, part.reason, part.offset, part.tag, part.step, part.before, name)
        )

    def _close(self, name: str) -> None:
        """Hand over a job's points so far, and remember their last steps."""
        job = self.jobs[name]
        for tag, column in self.columns.pop(name, {}).items():
            job.windows[tag] = _window(job.windows[tag], column)
            self.block.points.append(Points(
                tag, job.part, np.array(column.steps, np.int64),
                np.array(column.walls, np.float64), _float64(column.values), name,
            ))


def _window(before: tuple[int, ...], column: Column | None) -> tuple[int, ...]:
    """A tag's last 64 steps."""
    if column is None:
        return before
    last = column.steps[-WINDOW:]
    return (*before[len(last) - WINDOW :], *last) if len(last) < WINDOW else tuple(last)


def _float64(values: list[int | float]) -> np.ndarray:
    try:
        return np.array(values, "<f8")
    except OverflowError:
        return np.array([plain.real(value) for value in values], "<f8")
