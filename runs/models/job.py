"""A unit of work that writes JSON lines, and what it said."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.urls import reverse

from runs.models.run import Status
from runs.models.trainer import visible_trainers

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

#: Our status -> a job's own word for it, where its log used none.
WORDS = {"finished": "completed", "killed": "cancelled"}
ENDED = frozenset({Status.FINISHED, Status.FAILED, Status.KILLED})


class JobQuerySet(models.QuerySet["Job"]):
    """Jobs, by who may see them."""

    def visible_to(self, user: User | AnonymousUser, *, sources: Collection[int] | None = None) -> JobQuerySet:
        """Only the jobs of trainers that this user may see; ``sources`` as for runs (RunQuerySet.visible_to)."""
        if sources is not None:
            return self.filter(source__in=sources)
        return self.filter(visible_trainers(user, "source__trainer__"))

    def active(self) -> JobQuerySet:
        """Jobs whose runs are neither buried nor purged."""
        return self.filter(run__lifecycle_stage="active")


class Job(models.Model):
    """A job as its log tells it.  Every job has a run; a resumed job keeps its row.

    ``word`` is the source's own status word (completed, cancelled), ``status`` ours.
    """

    source = models.ForeignKey("runs.Source", on_delete=models.PROTECT, related_name="jobs")
    run = models.ForeignKey("runs.Run", on_delete=models.CASCADE, related_name="jobs")
    external_id = models.CharField(max_length=200)
    status = models.CharField(max_length=10, choices=Status, default=Status.QUEUED)
    word = models.CharField(max_length=40, blank=True)
    stage = models.CharField(max_length=100, blank=True)
    message = models.TextField(blank=True)
    step = models.BigIntegerField(null=True)
    total_steps = models.BigIntegerField(null=True)
    epoch = models.FloatField(null=True)
    eta_seconds = models.FloatField(null=True)
    loss = models.FloatField(null=True)
    lr = models.FloatField("learning rate", null=True)
    speed = models.FloatField(null=True, help_text="Steps a second, as its log says.")
    gpus = models.JSONField(default=list, help_text="Every GPU as last said: index, utilization, memory_used, ...")
    bars = models.JSONField(default=dict, help_text="Progress bars by their id: type, label, value (0 to 100), total, current.")
    stages = models.JSONField(default=list, help_text="[stage, Unix seconds] of each stage that it entered, oldest first.")
    config = models.JSONField(default=dict, help_text="What its start record says it was started with (redacted).")
    correlation_id = models.CharField(max_length=200, blank=True)
    error = models.TextField(blank=True)
    error_type = models.CharField(max_length=200, blank=True)
    error_stack = models.TextField(blank=True)
    started = models.DateTimeField(null=True)
    ended = models.DateTimeField(null=True)
    last_event = models.DateTimeField(null=True)
    line_count = models.BigIntegerField(default=0, help_text="Lines of its log that are kept.")
    lines_dropped = models.DateTimeField(null=True, help_text="When lines and events of it were dropped, being old.")
    last_line = models.DateTimeField(null=True, help_text="Time of its newest line, by the line itself.")
    asked = models.DateTimeField(
        null=True, help_text="When its trainer last asked whether it shall stop; never: it cannot be asked to."
    )
    cancel_requested = models.DateTimeField(null=True)
    cancel_requested_by = models.ForeignKey(
        "auth.User", null=True, on_delete=models.SET_NULL, related_name="+", db_index=False
    )
    version = models.BigIntegerField(default=0)

    #: Why it stands as it does, in words (runs/jobcards.py).
    status_reason: str = ""
    first_error: Event | None = None

    objects = JobQuerySet.as_manager()

    class Meta:
        ordering = ["-last_event", "-id"]
        # each run counts its own jobs: two runs may both have a "job 1"
        constraints = [models.UniqueConstraint(fields=["run", "external_id"], name="job_once_per_run")]
        indexes = [
            models.Index(fields=["source", "external_id"], name="job_by_external_id"),
            # as the list walks it: those that never said anything are a stretch of their own (query/jobs.py)
            models.Index(fields=["last_event", "id"], name="job_by_last_event"),
            # what stands as it does, counted for the tabs of the list
            models.Index(fields=["source", "status"], include=["id", "run"], name="job_by_source_and_status"),
            models.Index(fields=["error_type"], condition=~Q(error_type=""), name="job_by_error_type"),
        ]

    def __str__(self) -> str:
        return self.external_id

    def get_absolute_url(self) -> str:
        """The job's page."""
        return reverse("job", args=[self.pk])

    @property
    def said(self) -> str:
        """How it stands in the words of jobs: its log's own, else pending, running, completed, failed, cancelled."""
        return self.word or WORDS.get(self.status, self.status)

    @property
    def stalled(self) -> bool:
        """Running, but without a step for longer than usual; as its run is (ask with the run)."""
        return self.status == Status.RUNNING and self.run.status == Status.RUNNING and self.run.stalled

    @property
    def progress(self) -> float | None:
        """Share of its steps done, 0 to 1; None where the total is not known."""
        if not self.total_steps or self.step is None:
            return None
        return min(1.0, max(0.0, self.step / self.total_steps))

    @property
    def duration(self) -> float | None:
        """Seconds from its start to its end, or to its last line so far."""
        until = self.ended or max((at for at in (self.last_event, self.last_line) if at is not None), default=None)
        return None if self.started is None or until is None else (until - self.started).total_seconds()

    @property
    def time_left(self) -> float | None:
        """Seconds to its end, as its log says, else at its speed; None where it stands still or nobody can know."""
        if self.status != Status.RUNNING or self.stalled:
            return None
        if self.eta_seconds is not None:
            return self.eta_seconds
        if not self.total_steps or self.step is None or not self.speed or self.speed < 0:
            return None
        return max(0, self.total_steps - self.step) / self.speed


class Event(models.Model):
    """A line of a log that changed something: a start, an end, an error, a stage, a sample.

    Unique by where it stands in the file, so that reading twice stores it once.  ``version`` is
    the job's when it was stored: what a reader who saw version 7 has missed are those above 7.
    """

    run = models.ForeignKey("runs.Run", on_delete=models.CASCADE, related_name="events")
    job = models.ForeignKey(Job, null=True, on_delete=models.CASCADE, related_name="events")
    log_file = models.ForeignKey("runs.LogFile", on_delete=models.CASCADE, related_name="+")
    generation = models.IntegerField()
    offset = models.BigIntegerField()
    at = models.DateTimeField(null=True)
    level = models.CharField(max_length=10)
    kind = models.CharField(max_length=100)
    message = models.TextField(blank=True)
    fields = models.JSONField(default=dict)
    version = models.BigIntegerField(default=0)

    class Meta:
        ordering = ["run", "at", "id"]
        constraints = [
            models.UniqueConstraint(fields=["log_file", "generation", "offset", "kind"], name="event_once_per_line"),
        ]
        indexes = [models.Index(fields=["job", "version"], name="event_by_version")]

    def __str__(self) -> str:
        return f"{self.kind}: {self.message[:60]}"


class LogChunk(models.Model):
    """Lines ``start .. start + count - 1`` of a job's log in one file, as written but redacted.

    ``data`` is zstd of JSON lines (runs/logchunks.py); the last chunk of a file grows up to 1,000 lines, the
    others stay.  ``levels`` counts its lines by level and event, ``kinds`` names their events: what
    a filter need not open.
    """

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="chunks", db_index=False)
    log_file = models.ForeignKey("runs.LogFile", on_delete=models.CASCADE, related_name="+")
    generation = models.IntegerField()
    start = models.BigIntegerField()
    count = models.IntegerField()
    first_at = models.DateTimeField(null=True)
    last_at = models.DateTimeField(null=True)
    levels = models.JSONField(default=dict)
    kinds = ArrayField(models.CharField(max_length=100), default=list)
    data = models.BinaryField()

    class Meta:
        ordering = ["job", "log_file", "generation", "start"]
        constraints = [
            models.UniqueConstraint(fields=["job", "log_file", "generation", "start"], name="log_chunk_once"),
        ]

    def __str__(self) -> str:
        return f"{self.count} lines from {self.start}"


class Checkpoint(models.Model):
    """A checkpoint or model that a job said it wrote, or that lies where checkpoints lie."""

    class Kind(models.TextChoices):
        CHECKPOINT = "checkpoint", "checkpoint"
        MODEL = "model", "model"

    run = models.ForeignKey("runs.Run", on_delete=models.CASCADE, related_name="checkpoints")
    job = models.ForeignKey(Job, null=True, on_delete=models.CASCADE, related_name="checkpoints")
    kind = models.CharField(max_length=10, choices=Kind, default=Kind.CHECKPOINT)
    said = models.TextField(help_text="Its path as the log has it (redacted).")
    path = models.BinaryField(default=b"", help_text="Bytes, relative to the source's root; empty where it lies outside.")
    step = models.BigIntegerField(null=True)
    size = models.BigIntegerField(null=True)
    at = models.DateTimeField(null=True)
    missing = models.BooleanField(default=False)

    class Meta:
        ordering = ["run", "step", "id"]
        constraints = [models.UniqueConstraint(fields=["run", "said"], name="checkpoint_once_per_run")]

    def __str__(self) -> str:
        return self.said


class EventId(models.Model):
    """An ``event_id`` that was counted: the same one again, by push or in any file of the trainer, is not.

    Where it stands tells a repetition from the same line that is read anew (a new generation).
    """

    trainer = models.ForeignKey("runs.Trainer", on_delete=models.CASCADE, related_name="+", db_index=False)
    event_id = models.CharField(max_length=200)
    log_file = models.ForeignKey("runs.LogFile", on_delete=models.CASCADE, related_name="+")
    generation = models.IntegerField()
    offset = models.BigIntegerField()

    class Meta:
        ordering = ["trainer", "event_id"]
        constraints = [models.UniqueConstraint(fields=["trainer", "event_id"], name="event_id_once_per_trainer")]

    def __str__(self) -> str:
        return self.event_id
