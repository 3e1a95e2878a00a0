"""A unit of work that writes JSON lines, and what it said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import models

from runs.models.run import Status
from runs.models.trainer import visible_trainers

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User


class JobQuerySet(models.QuerySet["Job"]):
    """Jobs, by who may see them."""

    def visible_to(self, user: User | AnonymousUser) -> JobQuerySet:
        """Only the jobs of trainers that this user may see."""
        return self.filter(visible_trainers(user, "source__trainer__"))


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
    error = models.TextField(blank=True)
    error_type = models.CharField(max_length=200, blank=True)
    error_stack = models.TextField(blank=True)
    started = models.DateTimeField(null=True)
    ended = models.DateTimeField(null=True)
    last_event = models.DateTimeField(null=True)
    version = models.BigIntegerField(default=0)

    objects = JobQuerySet.as_manager()

    class Meta:
        ordering = ["-last_event", "-id"]
        # each run counts its own jobs: two runs may both have a "job 1"
        constraints = [models.UniqueConstraint(fields=["run", "external_id"], name="job_once_per_run")]
        indexes = [models.Index(fields=["source", "external_id"], name="job_by_external_id")]

    def __str__(self) -> str:
        return self.external_id

    def get_absolute_url(self) -> str:
        """The page of the job's run."""
        return self.run.get_absolute_url()


class Event(models.Model):
    """A line of a log that changed something: a start, an end, an error, a stage, a sample.

    Unique by where it stands in the file, so that reading twice stores it once.
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

    class Meta:
        ordering = ["run", "at", "id"]
        constraints = [
            models.UniqueConstraint(fields=["log_file", "generation", "offset", "kind"], name="event_once_per_line"),
        ]

    def __str__(self) -> str:
        return f"{self.kind}: {self.message[:60]}"
