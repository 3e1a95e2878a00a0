"""What may go, what will, what went where: Hold, RetentionPolicy, Plan, PlannedRun, Archive, Tombstone."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.urls import reverse

from runs import masks
from runs.models import Run
from runs.units import counted


class Hold(models.Model):
    """Somebody's word that a run must stay, with a reason; no cleanup touches it, whoever asks."""

    run = models.OneToOneField("runs.Run", on_delete=models.CASCADE, related_name="hold")
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    reason = models.CharField(max_length=500)
    until = models.DateTimeField(null=True, blank=True, help_text="Empty: until it is lifted.")
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created", "-id"]

    def __str__(self) -> str:
        return f"{self.run}: {self.reason}"

    def get_absolute_url(self) -> str:
        """The page of the run."""
        return self.run.get_absolute_url()

    def holds(self, at: datetime) -> bool:
        """Whether it still holds at this moment."""
        return self.until is None or self.until > at


class RetentionPolicy(models.Model):
    """A rule by which runs of a trainer, a dataset or both go by themselves; off until somebody switches it on.

    A run goes where ``max_age`` or ``ceiling`` says so and nothing keeps it (``keep_last``, ``keep_best``, pins,
    bookmarks, holds).  Without ``max_age`` and ``ceiling`` all that is not kept goes; a policy with no rule at all, or
    with neither trainer nor dataset, refuses to run, as does one that would take more than its guards allow.
    """

    class Best(models.TextChoices):
        MIN = "min", "the smallest is best"
        MAX = "max", "the largest is best"

    class Ceiling(models.TextChoices):
        RUNS = "runs", "all runs of the policy together"
        VOLUME = "volume", "all that is in use on the volume that a run lies on"

    class Of(models.TextChoices):
        LAST = "last", "last value"
        MIN = "min", "minimum"
        MAX = "max", "maximum"

    name = models.CharField(max_length=100, unique=True)
    trainer = models.ForeignKey("runs.Trainer", null=True, blank=True, on_delete=models.CASCADE, related_name="policies")
    dataset = models.ForeignKey("runs.Dataset", null=True, blank=True, on_delete=models.CASCADE, related_name="policies")
    max_age = models.DurationField(null=True, blank=True, help_text="Nothing came of the run for so long.")
    keep_last = models.PositiveIntegerField(null=True, blank=True, help_text="The newest so many of each dataset stay.")
    keep_best = models.PositiveIntegerField(null=True, blank=True, help_text="The best so many of each dataset stay.")
    metric = models.CharField(max_length=500, blank=True, help_text="The tag of a metric, for the best.")
    metric_of = models.CharField(max_length=4, choices=Of, default=Of.LAST)
    best = models.CharField(max_length=3, choices=Best, default=Best.MIN)
    keep_pinned = models.BooleanField(default=True, help_text="Pinned and bookmarked runs stay.")
    ceiling = models.BigIntegerField(null=True, blank=True, help_text="Bytes; over it the oldest go first.")
    ceiling_of = models.CharField(max_length=6, choices=Ceiling, default=Ceiling.RUNS, help_text="What the ceiling is of.")
    archive = models.BooleanField(default=True, help_text="Each run is archived and checked before it is touched.")
    grace = models.DurationField(default=timedelta(days=7), help_text="How long runs lie in the trash before they are purged.")
    forget_metrics = models.BooleanField(default=False, help_text="Drop the points of purged runs, too.")
    most_runs = models.PositiveIntegerField(default=100, help_text="Runs that may go at once; with more nothing goes.")
    most_bytes = models.BigIntegerField(null=True, blank=True, help_text="Bytes that may go at once; with more nothing goes.")
    enabled = models.BooleanField(default=False)
    created = models.DateTimeField(auto_now_add=True)
    ran_at = models.DateTimeField(null=True, editable=False)
    outcome = models.TextField(blank=True, editable=False, help_text="What came of the last time.")

    class Meta:
        ordering = ["name"]
        verbose_name_plural = "retention policies"

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        """What it would do now."""
        return reverse("policy", args=[self.pk])


class Plan(models.Model):
    """One cleanup: who wanted what, and the exact list that was confirmed.

    draft -> confirmed -> working -> done; a draft may be cancelled.  One that was killed amid its
    work stays ``working`` until somebody goes on with it.  ``digest`` covers every file of every
    run in it (path, inode, size, mtime): a confirmation is good for that list and no other.
    """

    class State(models.TextChoices):
        DRAFT = "draft", "draft"
        CONFIRMED = "confirmed", "confirmed"
        WORKING = "working", "at work"
        DONE = "done", "done"
        CANCELLED = "cancelled", "cancelled"

    #: What the janitor has something to do for.
    OPEN = (State.CONFIRMED, State.WORKING)

    created = models.DateTimeField(auto_now_add=True)
    by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    who = models.CharField(max_length=150, help_text="The name at the time.")
    origin = models.CharField(max_length=20, help_text="Where it was made: console, web, policy.")
    why = models.TextField(blank=True)
    selected = models.TextField(blank=True, help_text="The selection in the words that were given.")
    archive = models.BooleanField(default=True, help_text="Each run is archived and checked before it is touched.")
    grace = models.DurationField(default=timedelta(days=7), help_text="How long runs lie in the trash before they are purged.")
    forced = models.BooleanField(default=False, help_text="Pinned and bookmarked runs, too.")
    keeps = models.BooleanField(default=False, help_text="Only archived: the runs stay where they are.")
    forget_metrics = models.BooleanField(default=False, help_text="The points of its runs are dropped with their files.")
    policy = models.ForeignKey(RetentionPolicy, null=True, on_delete=models.SET_NULL, related_name="plans")
    progress = models.JSONField(default=dict, help_text="What is being done now: run, step, bytes done and in all.")
    state = models.CharField(max_length=10, choices=State, default=State.DRAFT)
    digest = models.CharField(max_length=64)
    confirmed_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["id"], condition=Q(state__in=["confirmed", "working"]), name="plan_that_is_open"),
        ]
        permissions = [
            ("clean_runs", "Can clean up runs and bring them back"),
            ("force_cleanup", "Can clean up pinned and bookmarked runs"),
        ]

    def __str__(self) -> str:
        return f"cleanup {self.pk} by {self.who}"

    def get_absolute_url(self) -> str:
        """Its page, with what became of each run."""
        return reverse("cleanup", args=[self.pk])


class PlannedRun(models.Model):
    """A run in a plan, and how far it is: the journal.

    planned -> archiving -> archived -> burying -> buried -> purging -> purged, or -> restored, or
    -> lost, where somebody says that its volume is gone with what lay in the trash there;
    ``skipped`` was left alone (it had changed or was protected), ``failed`` could not be done.
    A word that ends in -ing is committed before the disk is touched, the next one after it:
    whoever goes on after a kill looks at the disk to learn which side of the deed it was.
    """

    class Step(models.TextChoices):
        PLANNED = "planned", "planned"
        ARCHIVING = "archiving", "being archived"
        ARCHIVED = "archived", "archived"
        BURYING = "burying", "on the way to the trash"
        BURIED = "buried", "in the trash"
        PURGING = "purging", "being purged"
        PURGED = "purged", "purged"
        RESTORING = "restoring", "on the way back"
        RESTORED = "restored", "restored"
        LOST = "lost", "lost with its volume"
        SKIPPED = "skipped", "left alone"
        FAILED = "failed", "failed"

    #: Steps after which this cleanup has nothing left to do for a run.
    SETTLED = (
        Step.BURIED, Step.PURGING, Step.PURGED, Step.RESTORING, Step.RESTORED, Step.LOST, Step.SKIPPED, Step.FAILED)

    plan = models.ForeignKey(Plan, on_delete=models.CASCADE, related_name="runs")
    run = models.ForeignKey("runs.Run", on_delete=models.PROTECT, related_name="planned")
    path = models.BinaryField(help_text="Bytes, relative to the source's root, when it was planned.")
    reason = models.TextField(blank=True, help_text="Why it was selected.")
    inode = models.DecimalField(max_digits=20, decimal_places=0)
    digest = models.CharField(max_length=64)
    size = models.BigIntegerField(help_text="Bytes of its files.")
    frees = models.BigIntegerField(help_text="Bytes of the disk that are free when it is purged.")
    files = models.IntegerField()
    step = models.CharField(max_length=10, choices=Step, default=Step.PLANNED)
    error = models.TextField(blank=True, help_text="Why it was left alone or failed.")
    changed = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["plan", "id"]
        constraints = [models.UniqueConstraint(fields=["plan", "run"], name="run_once_per_plan")]

    def __str__(self) -> str:
        return f"{self.run}: {self.get_step_display()}"

    @property
    def path_text(self) -> str:
        """The path for people."""
        return masks.shown(self.path)

    @property
    def grave(self) -> str:
        """The name of its folder in the trash: nobody else's, of this site or of another that uses the volume."""
        return f"run-{self.run_id}-plan-{self.plan_id}-{self.digest[:8]}"


class Archive(models.Model):
    """A packed run that was read again and checked, or the attempt to make one.

    ``manifest_sha256`` is kept here so that a manifest that somebody edited is found out.
    """

    class State(models.TextChoices):
        WRITING = "writing", "being written"
        VERIFIED = "verified", "verified"
        BROKEN = "broken", "broken"
        GONE = "gone", "gone"

    run = models.ForeignKey("runs.Run", on_delete=models.PROTECT, related_name="archives")
    planned = models.ForeignKey(PlannedRun, null=True, on_delete=models.SET_NULL, related_name="archives")
    destination = models.TextField(help_text="The folder or address that it lies in.")
    name = models.CharField(max_length=200)
    sha256 = models.CharField(max_length=64, blank=True)
    manifest_sha256 = models.CharField(max_length=64, blank=True)
    size = models.BigIntegerField(default=0, help_text="Bytes of the archive itself.")
    files = models.IntegerField(default=0)
    state = models.CharField(max_length=10, choices=State, default=State.WRITING)
    error = models.TextField(blank=True)
    made_at = models.DateTimeField(auto_now_add=True)
    verified_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["destination", "name"], name="archive_once_per_place")]

    def __str__(self) -> str:
        return self.name


class TombstoneQuerySet(models.QuerySet["Tombstone"]):
    """Burials, by what became of them."""

    def lying(self) -> TombstoneQuerySet:
        """Those of which nothing became yet: by the journal they lie in a trash."""
        return self.filter(purged_at=None, lost_at=None, restored_at=None)


class Tombstone(models.Model):
    """A buried run: where it lay, where it lies, and when it may be purged.

    ``inode`` is that of the folder that was renamed: it says who is who, whatever lies at the
    old path meanwhile.
    """

    run = models.ForeignKey("runs.Run", on_delete=models.PROTECT, related_name="tombstones")
    planned = models.OneToOneField(PlannedRun, on_delete=models.PROTECT, related_name="tombstone")
    source = models.ForeignKey("runs.Source", on_delete=models.PROTECT, related_name="tombstones")
    archive = models.ForeignKey(Archive, null=True, on_delete=models.PROTECT, related_name="tombstones")
    path = models.BinaryField(help_text="Bytes, relative to the source's root: where it lay.")
    grave = models.CharField(max_length=200)
    inode = models.DecimalField(max_digits=20, decimal_places=0)
    digest = models.CharField(max_length=64)
    size = models.BigIntegerField()
    frees = models.BigIntegerField()
    buried_at = models.DateTimeField()
    purge_after = models.DateTimeField(db_index=True)
    purged_at = models.DateTimeField(null=True)
    freed = models.BigIntegerField(null=True, help_text="Bytes of the disk that purging it has freed.")
    lost_at = models.DateTimeField(null=True, help_text="When somebody said that its volume is lost; that has freed nothing.")
    restored_at = models.DateTimeField(null=True)
    wanted_by = models.CharField(max_length=150, blank=True, help_text="Who wants it back; the janitor brings it.")
    grew = models.JSONField(default=list, help_text="Files that changed in the trash: somebody still writes there.")

    objects = TombstoneQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["run"], condition=Q(purged_at=None, restored_at=None), name="tombstone_once_per_buried_run"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.run} in {self.grave}"

    def get_absolute_url(self) -> str:
        """The page of the run, which stays."""
        return reverse("run", args=[self.run_id])

    @property
    def path_text(self) -> str:
        """The old path for people."""
        return masks.shown(self.path)

    @property
    def gone_at(self) -> datetime | None:
        """Since when it lies in no trash any more: it can come from its archive only."""
        return self.purged_at or self.lost_at

    @property
    def returning(self) -> bool:
        """Whether somebody wants it back and it is not there yet."""
        return bool(self.wanted_by) or self.planned.step == PlannedRun.Step.RESTORING


class Vacuum(models.Model):
    """Points that were dropped from the database, and what became of their room.

    Open (no ``done_at``) from the first of them until the tables were vacuumed: whoever goes on after a kill
    finds it.  ``before`` and ``after`` are the bytes of all tables of points with their indexes.
    """

    begun_at = models.DateTimeField(auto_now_add=True)
    runs = models.PositiveIntegerField(default=0)
    points = models.BigIntegerField(default=0)
    dropped = models.BigIntegerField(default=0, help_text="Bytes of the rows that were deleted, as they were stored.")
    before = models.BigIntegerField()
    after = models.BigIntegerField(null=True)
    reusable = models.BigIntegerField(null=True, help_text="Free bytes in the tables, for what comes next.")
    measured = models.BooleanField(default=False, help_text="By the free space map; else estimated from what was deleted.")
    done_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"points of {counted(self.runs)}"


class RunStorage(Run):
    """A run as what takes room: the list of the admin from which runs are cleaned up."""

    class Meta:
        proxy = True
        ordering = ["-size"]
        verbose_name = "run on disk"
        verbose_name_plural = "runs on disk"
