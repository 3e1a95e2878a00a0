"""What the lines of a log say about its job: its state, its events, and its run's state."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from runs import artifacts, logchunks, masks, redact
from runs.artifacts import Named
from runs.facts import dated, hear_step, moment, set_params
from runs.models import Event, Job, LogChunk, LogFile, Run, Transition
from runs.models.run import Status
from runs.readers import naming
from runs.readers.plain import plain, plain_json
from runs.readers.progress import ENDED, legal
from runs.readers.records import Block, Figures, Said
from runs.rows import save_all

PROGRESS = "progress"
#: Stages of a job's way that are kept: a job that samples every hundred steps enters thousands.
STAGES_KEPT = 500
#: The columns that a log may change.
JOB_FIELDS = [
    "status", "word", "stage", "message", "step", "total_steps", "epoch", "eta_seconds", "loss", "lr", "speed", "gpus", "bars",
    "stages", "config", "correlation_id", "error", "error_type", "error_stack", "started", "ended", "last_event", "line_count",
    "last_line", "version",
]
PHASES_KEPT = 30
SILENT = frozenset({Status.LOST, Status.UNKNOWN})


def apply(run: Run, file: LogFile, blocks: list[Block], named: list[Named]) -> dict[int, int]:
    """Bring the jobs of a log, and its run, to these blocks; the versions that the jobs have now.

    The caller holds the run's lock.
    """
    said = [one for block in blocks for one in block.said]
    spoken = {name for block in blocks for name in block.lines} | {one.job for one in said}
    if not spoken:
        return {}
    external = {name: _external(file, name) for name in spoken}
    jobs = _jobs(run, set(external.values()))
    events: list[Event] = []
    changes: list[Transition] = []
    told = _told_elsewhere(file, jobs)
    for one in said:
        job = jobs[external[one.job]]
        if job.pk in told:
            if one.figures is not None:
                job.bars = {**job.bars, **_bars(one.figures)}
            if one.event == PROGRESS:
                continue
            one = _only_words(one)
        _advance(job, one, changes, again=file.reading > 0)
        _tell_run(run, job, one, file)
        if one.event != PROGRESS:
            events.append(_event(run, job, file, one))
    Event.objects.bulk_create(events, ignore_conflicts=True)
    Transition.objects.bulk_create(changes)
    _keep(file, blocks, jobs, external)
    save_all(list(jobs.values()), JOB_FIELDS)
    artifacts.store(file, file.reading, named, jobs, external)
    return {job.pk: job.version for job in jobs.values()}


def settle(runs: Iterable[Run]) -> dict[int, int]:
    """Running jobs of runs that silence has judged are as their runs; the versions that they have now.

    The caller holds the runs' locks.
    """
    silent = {run.pk: run for run in runs if run.status in SILENT}
    if not silent:
        return {}
    jobs = list(Job.objects.select_for_update().filter(run__in=silent, status=Status.RUNNING).order_by("pk"))
    for job in jobs:
        run = silent[job.run_id]
        Transition.objects.create(
            run=run, job=job, old=job.status, new=run.status, reason=run.status_reason, evidence=run.status_evidence,
            at=run.status_since or job.last_event or dated())
        job.status = run.status
        job.version += 1
    save_all(jobs, ["status", "version"])
    return {job.pk: job.version for job in jobs}


def _told_elsewhere(file: LogFile, jobs: dict[str, Job]) -> set[int]:
    """The jobs of a text log that have a log of records, too: that one says how they stand, more exactly."""
    if file.kind != LogFile.Kind.TEXT:
        return set()
    chunks = LogChunk.objects.filter(job__in=list(jobs.values()), log_file__kind=LogFile.Kind.JSONL)
    return set(chunks.order_by().values_list("job", flat=True).distinct())


def _only_words(said: Said) -> Said:
    """What was printed, without how the job stands."""
    return replace(said, figures=None, step=None, total_steps=None, epoch=None, eta_seconds=None, status=None, word="")


def _external(file: LogFile, name: str) -> str:
    """The job that a line names; else the file's name is the job's."""
    if not name and file.kind == LogFile.Kind.TEXT:
        name = naming.job_of_text(bytes(file.path)).decode(errors="backslashreplace")
    return plain(masks.name(name or PurePosixPath(bytes(file.path).decode(errors="backslashreplace")).stem))[:200]


def _jobs(run: Run, names: set[str]) -> dict[str, Job]:
    """The run's jobs of these names, locked, each with its next version."""
    rows = Job.objects.select_for_update().filter(run=run, external_id__in=names).order_by("pk")
    jobs = {job.external_id: job for job in rows}
    if new := sorted(names - jobs.keys()):
        made = [Job(run=run, source_id=run.source_id, external_id=name) for name in new]
        jobs |= {job.external_id: job for job in Job.objects.bulk_create(made, batch_size=1000)}
    for job in jobs.values():
        job.version += 1
    return jobs


def _keep(file: LogFile, blocks: list[Block], jobs: dict[str, Job], external: dict[str, str]) -> None:
    """Store the lines of a log; only those of the shown generation count."""
    found = []
    for block in blocks:
        for name, lines in block.lines.items():
            job = jobs[external[name]]
            found.append(((job.pk, file.pk, file.reading), lines))
            if file.reading == file.generation:
                job.line_count += len(lines.raws)
            newest = moment(max((wall for wall in lines.walls if wall is not None), default=None))
            if newest is not None:
                job.last_line = max(job.last_line, newest) if job.last_line else newest
    logchunks.store(found)


def _advance(job: Job, said: Said, changes: list[Transition], *, again: bool) -> None:
    """One line's word on the job; a change of status is added to ``changes``.

    ``again``: the file was read before, so the change may be known.
    """
    at = moment(said.at)
    if said.status is None and job.status in SILENT and not again:
        said = replace(said, status="running")
    if said.status and said.status != job.status and _may_become(job, said):
        since = moment(said.since) or at
        change = Transition(
            run_id=job.run_id, job=job, old=job.status, new=said.status, at=since or job.last_event or dated(),
            reason=plain(redact.text(said.error or said.message))[:500], evidence={"word": said.word},
        )
        if not again or not Transition.objects.filter(job=job, new=change.new, at=change.at).exists():
            changes.append(change)
        if job.status in ENDED:
            job.loss = job.lr = job.speed = None
            job.gpus, job.bars = [], {}
        if job.status in ENDED or said.status in ENDED:
            job.eta_seconds = None
        job.status = said.status
        job.ended = at if said.status in {"finished", "failed", "killed"} else None
        if said.status == "running":
            job.started = job.started or since
            job.error = job.error_type = job.error_stack = ""
    job.word = plain(said.word)[:40] or job.word
    for name in ("step", "total_steps", "epoch", "eta_seconds"):
        if (value := getattr(said, name)) is not None:
            setattr(job, name, value)
    if said.figures is not None:
        _show(job, said.figures)
    if said.stage:
        _enter(job, plain(redact.text(said.stage))[:100], said.at)
    job.message = plain(redact.text(said.message))[:2000] or job.message
    if said.error:
        job.error = plain(redact.text(said.error))
        job.error_type = plain(redact.text(said.error_type or ""))[:200]
        job.error_stack = plain(redact.text(said.error_stack or ""))
    if at is not None:
        job.last_event = max(job.last_event, at) if job.last_event else at


def _show(job: Job, figures: Figures) -> None:
    """Its newest figures; one that is no finite number is none."""
    for name in ("loss", "lr", "speed"):
        if (value := getattr(figures, name)) is not None:
            setattr(job, name, value if math.isfinite(value) else None)
    job.gpus = plain_json(redact.value(figures.gpus)) or job.gpus
    job.bars = _bars(figures) or job.bars
    job.correlation_id = plain(redact.text(figures.correlation_id))[:200] or job.correlation_id


def _bars(figures: Figures) -> dict[str, Any]:
    """A bar's name is no key of a secret: one called "token" counts tokens."""
    return {plain(redact.text(name)): plain_json(redact.value(bar)) for name, bar in figures.bars.items()}


def _enter(job: Job, stage: str, at: float | None) -> None:
    """The stage that it is in; its way there is kept, the beginning and the last ones."""
    if not job.stages or job.stages[-1][0] != stage:
        when = at if moment(at) is not None else (job.last_event.timestamp() if job.last_event else None)
        job.stages = [*job.stages[:1], *job.stages[1:][-STAGES_KEPT:], [stage, when]]
    job.stage = stage


def _may_become(job: Job, said: Said) -> bool:
    """Whether the job can have this status now; the first word on a job is always taken."""
    return job.last_event is None or legal(job.status, str(said.status), resumed=said.event != PROGRESS)


def _tell_run(run: Run, job: Job, said: Said, file: LogFile) -> None:
    """The run stands as its latest job does."""
    if job.stage != run.stage:
        _leave(run, job)
    run.stage = job.stage
    if job.total_steps is not None:
        run.total_steps = job.total_steps
    if said.step is not None:
        hear_step(run, job, said, records=file.kind == LogFile.Kind.JSONL)
    if job.epoch is not None:
        run.epoch = job.epoch
    run.error, run.error_type, run.error_stack = job.error, job.error_type, job.error_stack
    config = said.fields.get("config")
    if isinstance(config, dict):
        set_params(run, "job", config)
        job.config = run.param_sources["job"]
    if said.status == job.status:
        _hear(run, job, said, file)


def _leave(run: Run, job: Job) -> None:
    """Remember how long the stage took that the job has left: the longest of each is looked at when it is silent."""
    if len(job.stages) < 2 or None in (since := job.stages[-2][1], until := job.stages[-1][1]):
        return
    longest, stage = run.pulse.get("phases", {}), job.stages[-2][0]
    if until > since and until - since > longest.get(stage, 0.0) and (stage in longest or len(longest) < PHASES_KEPT):
        run.pulse = {**run.pulse, "phases": {**longest, stage: round(until - since, 3)}}


def _hear(run: Run, job: Job, said: Said, file: LogFile) -> None:
    """The run's word by its logs: the newest; what is only printed has no end, so it says nothing of a beginning.

    Of one log the later line is newer, whatever its clock says: clocks are set back.
    """
    held, printed = run.said.get("log", {}), file.kind == LogFile.Kind.TEXT
    older = said.at is not None and said.at < (held.get("at") or 0.0)
    if older and held.get("status") in ENDED and held.get("file") != file.pk:
        return
    if printed and said.status not in ENDED:
        if held.get("printed"):
            run.said = {by: word for by, word in run.said.items() if by != "log"}
        return
    reason = job.error if said.status == "failed" else f"its log says {said.word or said.status}"
    run.said = {**run.said, "log": {
        "status": said.status, "at": said.at, "by": "its log", "reason": plain(reason)[:500], "printed": printed,
        "file": file.pk}}


def _event(run: Run, job: Job, file: LogFile, said: Said) -> Event:
    return Event(
        run=run, job=job, log_file=file, generation=file.reading, offset=said.offset, at=moment(said.at),
        level=plain(said.level)[:10], kind=plain(redact.text(said.event))[:100], message=plain(redact.text(said.message)),
        fields=plain_json(redact.value(said.fields)), version=job.version,
    )
