"""A run, how its status changed, and the attempts it is made of."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import F, Func, Q
from django.urls import reverse

from runs import masks
from runs.models.trainer import visible_trainers

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

    from runs.sparks import Spark


class Status(models.TextChoices):
    """How a run or job stands.

    queued -> running -> finished | failed | killed, by its own words; running -> unknown or
    lost, by silence, and back to running when data returns.  ``stalled`` is a mark on
    running.  No status but those by the run's own words is final.
    """

    QUEUED = "queued", "queued"
    RUNNING = "running", "running"
    FINISHED = "finished", "finished"
    FAILED = "failed", "failed"
    KILLED = "killed", "killed"
    LOST = "lost", "lost"
    UNKNOWN = "unknown", "unknown"


class RunQuerySet(models.QuerySet["Run"]):
    """Runs, by who may see them and by how they stand."""

    def visible_to(self, user: User | AnonymousUser, *, sources: Collection[int] | None = None) -> RunQuerySet:
        """Only the runs of trainers that this user may see: the one door for access.

        ``sources`` are the ids of all sources that the user may see, where those were looked up
        (Source.objects.visible_to): the database then knows how many runs to expect, and plans by it.
        """
        if sources is not None:
            return self.filter(source__in=sources)
        return self.filter(visible_trainers(user, "source__trainer__"))

    def active(self) -> RunQuerySet:
        """Runs that are neither buried nor purged."""
        return self.filter(lifecycle_stage=Run.Stage.ACTIVE)


class Run(models.Model):
    """One training run: a directory of event files, or a job that only writes a log."""

    class Stage(models.TextChoices):
        ACTIVE = "active", "active"
        BURIED = "buried", "in the trash"
        PURGED = "purged", "files purged"
        LOST = "lost", "lost with its volume"

    source = models.ForeignKey("runs.Source", on_delete=models.PROTECT, related_name="runs")
    dataset = models.ForeignKey("runs.Dataset", null=True, blank=True, on_delete=models.SET_NULL, related_name="runs")
    path = models.BinaryField(help_text="Bytes, relative to the source's root.")
    name = models.TextField()
    status = models.CharField(max_length=10, choices=Status, default=Status.UNKNOWN)
    status_reason = models.TextField(blank=True)
    status_evidence = models.JSONField(default=dict)
    status_since = models.DateTimeField(null=True)
    stalled = models.BooleanField(default=False)
    lifecycle_stage = models.CharField(max_length=10, choices=Stage, default=Stage.ACTIVE)
    files_missing = models.BooleanField(default=False)
    version = models.BigIntegerField(default=0)
    created = models.DateTimeField(auto_now_add=True)
    started = models.DateTimeField(null=True, help_text="First wall time in its records.")
    ended = models.DateTimeField(null=True)
    last_event = models.DateTimeField(null=True, help_text="Last wall time in its records.")
    last_arrival = models.DateTimeField(null=True, help_text="When bytes last arrived on disk.")
    pulse = models.JSONField(
        default=dict, help_text="Recent [wall, step] pairs, and Unix seconds of recent arrivals on disk."
    )
    step = models.BigIntegerField(null=True)
    total_steps = models.BigIntegerField(null=True)
    epoch = models.FloatField(null=True)
    stage = models.CharField(max_length=100, blank=True)
    early_stopped = models.BooleanField(default=False)
    error = models.TextField(blank=True)
    error_type = models.CharField(max_length=200, blank=True)
    error_stack = models.TextField(blank=True)
    size = models.BigIntegerField(default=0, help_text="Bytes of all regular files below its path.")
    file_count = models.IntegerField(default=0)
    event_file_count = models.IntegerField(default=0)
    modified = models.DateTimeField(null=True, help_text="Newest mtime of a file below its path.")
    point_count = models.BigIntegerField(default=0)
    points_dropped = models.DateTimeField(null=True, help_text="When its points were dropped; an archive holds them.")
    bad_records = models.BigIntegerField(default=0)
    lost_bytes = models.BigIntegerField(default=0)
    warnings = models.JSONField(default=list, help_text="What the last scan found odd: kind, path, detail.")
    gpu_type = models.CharField("GPU type", max_length=100, blank=True)
    gpu_count = models.PositiveIntegerField("GPU count", null=True, blank=True)
    host = models.CharField(max_length=255, blank=True)
    pid = models.BigIntegerField(null=True)
    params = models.JSONField(default=dict, help_text="What pages show: merged from param_sources.")
    param_sources = models.JSONField(default=dict, help_text="Parameters by where they were found.")
    sidecars = models.JSONField(default=dict, help_text="Files beside the events as last read: path -> what it said.")
    said = models.JSONField(default=dict, help_text="What its log, trainer_state.json or hparams said of its end.")
    tags = ArrayField(models.CharField(max_length=100), default=list, blank=True)
    pinned = models.BooleanField(default=False)
    demo = models.BooleanField(default=False)

    #: What a list shows of it, put there for a whole page of runs (figures.dress_rows).
    main: Spark | None = None
    unreadable: int = 0
    noted: int = 0
    bookmarked: bool = False
    shared_bookmark: bool = False
    #: Cells of the columns chosen, by key (query.rows).
    cells: dict[str, Any] = {}

    objects = RunQuerySet.as_manager()

    class Meta:
        ordering = ["-last_event", "-id"]
        constraints = [
            models.UniqueConstraint(
                F("source"),
                Func(F("path"), function="sha256"),
                condition=Q(lifecycle_stage="active"),
                name="run_once_per_active_path",
            ),
        ]
        indexes = [
            models.Index(F("last_event").desc(nulls_last=True), F("id").desc(), name="run_by_last_event"),
            models.Index(
                F("source"), F("last_event").desc(nulls_last=True), F("id").desc(), name="run_by_source_and_event"
            ),
            # counts and totals of 100,000 runs come from this index alone: 24 ms, from the table, which is wide, 80 ms
            models.Index(
                fields=["source", "status", "lifecycle_stage"], include=["id", "stalled", "size", "point_count"],
                name="run_by_source_and_status",
            ),
            # what runs and what broke last is found at once, however long ago that was
            models.Index(
                F("last_event").desc(nulls_last=True), F("id").desc(), condition=Q(status="running"), name="run_that_runs"
            ),
            models.Index(
                F("last_event").desc(nulls_last=True), F("id").desc(),
                condition=Q(status__in=["failed", "killed", "lost"]), name="run_that_broke",
            ),
            models.Index(fields=["modified", "id"], name="run_by_modified"),
            # for what is cleaned up: without them PostgreSQL sorts or reads all of 100,000 runs, 90 ms of a processor for 50 rows
            models.Index(fields=["size", "id"], name="run_by_size"),
            models.Index(fields=["modified", "id"], condition=Q(pinned=True), name="run_that_is_pinned"),
            GinIndex(fields=["tags"], name="run_by_tag"),
        ]
        permissions = [("download_raw", "Can download raw log files, which are shown as they are")]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        """The run's page."""
        return reverse("run", args=[self.pk])

    @property
    def path_text(self) -> str:
        """The path for people: without secrets, bytes that are not UTF-8 escaped."""
        return masks.shown(self.path)

    @property
    def progress(self) -> float | None:
        """Share of its steps done, 0 to 1; None where the total is not known or was cut short."""
        if not self.total_steps or self.step is None or self.early_stopped:
            return None
        return min(1.0, max(0.0, self.step / self.total_steps))

    @property
    def duration(self) -> float | None:
        """Seconds from its first record to its end, or to its last record so far."""
        until = self.ended or self.last_event
        if self.started is None or until is None:
            return None
        return (until - self.started).total_seconds()

    @property
    def eta_seconds(self) -> float | None:
        """Seconds to its last step at the speed of its recent steps; None if unknowable, as while it stands still."""
        speed = self.steps_per_second
        if self.status != Status.RUNNING or self.stalled or not self.total_steps or self.step is None or not speed:
            return None
        return max(0, self.total_steps - self.step) / speed

    @property
    def steps_per_second(self) -> float | None:
        """Training steps a second over the recent [wall, step] pairs; None if not yet measurable."""
        steps = self.pulse.get("steps", [])
        if len(steps) < 2 or steps[-1][0] <= steps[0][0] or steps[-1][1] <= steps[0][1]:
            return None
        return float((steps[-1][1] - steps[0][1]) / (steps[-1][0] - steps[0][0]))


class Transition(models.Model):
    """One change of status, of a run or of a job: history and queue at once.

    ``at`` is when it happened by the data, ``seen`` when we learned of it; what reacts to
    it (alerts) sets ``processed``.
    """

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="transitions")
    job = models.ForeignKey("runs.Job", null=True, on_delete=models.CASCADE, related_name="transitions")
    old = models.CharField(max_length=10, choices=Status)
    new = models.CharField(max_length=10, choices=Status)
    reason = models.TextField(blank=True)
    evidence = models.JSONField(default=dict)
    at = models.DateTimeField()
    seen = models.DateTimeField(auto_now_add=True)
    processed = models.DateTimeField(null=True)

    class Meta:
        ordering = ["run", "id"]
        indexes = [models.Index(fields=["id"], condition=Q(processed=None), name="transition_to_process")]

    def __str__(self) -> str:
        return f"{self.old} -> {self.new}"


class Segment(models.Model):
    """One attempt in one file of a run: an interval that was really trained (and is billed)."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="segments")
    log_file = models.ForeignKey("runs.LogFile", on_delete=models.CASCADE, related_name="segments")
    generation = models.IntegerField()
    part = models.IntegerField()
    reason = models.CharField(max_length=200)
    offset = models.BigIntegerField()
    first_step = models.BigIntegerField(null=True)
    last_step = models.BigIntegerField(null=True)
    first_wall = models.FloatField(null=True)
    last_wall = models.FloatField(null=True)

    class Meta:
        ordering = ["run", "first_wall", "log_file", "part"]
        constraints = [
            models.UniqueConstraint(fields=["log_file", "generation", "part"], name="segment_once_per_part"),
        ]

    def __str__(self) -> str:
        return f"part {self.part}: {self.reason}"
