"""Who trains, and where its logs lie: Trainer, Source, Dataset."""

from __future__ import annotations

import math
import os
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils.timezone import now

from runs import masks
from runs.compiled import Compiled, Given
from runs.readers.tree import TRASH
from runs.roles import sees_everything

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User


#: At the end of the name of a lease's holder that is a follower: it gives the source back within moments.
FOLLOWS = "/follow"
#: A source that a follower knew this recently is followed.
FOLLOWING = timedelta(seconds=15)


def visible_trainers(user: User | AnonymousUser, prefix: str = "") -> Q:
    """The one rule of who sees what, as a filter on the trainer found under ``prefix``.

    A trainer with groups is seen by their members; one without groups by every signed-in
    user, or by nobody but admins where TRAINMON_PRIVATE is set.  Admins see all.
    """
    if not user.is_authenticated or not user.is_active:
        return Q(pk__in=[])
    if sees_everything(user):
        return Q()
    return _trainers_of(user.pk, prefix, private=settings.TRAINMON_PRIVATE)


def _trainers_of(user: int | Given, prefix: str, *, private: bool) -> Q:
    mine = Trainer.groups.through.objects.filter(group__user=user).values("trainer_id")
    rule = Q(**{f"{prefix}pk__in": mine})
    if not private:
        owned = Trainer.groups.through.objects.values("trainer_id")
        rule |= ~Q(**{f"{prefix}pk__in": owned})
    return rule


class TrainerQuerySet(models.QuerySet["Trainer"]):
    """Trainers, by who may see them."""

    def visible_to(self, user: User | AnonymousUser) -> TrainerQuerySet:
        """Only the trainers that this user may see."""
        return self.filter(visible_trainers(user))


class Trainer(models.Model):
    """A training programme or team whose runs belong together (lora, router)."""

    name = models.CharField(max_length=200)
    slug = models.SlugField(max_length=100, unique=True)
    description = models.TextField(blank=True)
    groups = models.ManyToManyField(
        Group, blank=True, related_name="trainers", help_text="Who may see it; empty: everybody who can sign in."
    )
    gpu_type = models.CharField("GPU type", max_length=100, blank=True)
    gpu_count = models.PositiveIntegerField("GPU count", null=True, blank=True)
    demo = models.BooleanField(default=False, help_text="Its data was made to show trainmon, not by a real trainer.")

    objects = TrainerQuerySet.as_manager()

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        """The trainer's page."""
        return reverse("trainer", args=[self.slug])

    @property
    def runs_url(self) -> str:
        """The run list of this trainer."""
        return f"{reverse('runs')}?trainer={self.slug}"


def stale_before() -> datetime:
    """Data read before this moment is stale: two syncs of its source were due since."""
    return now() - timedelta(seconds=2 * settings.TRAINMON_SYNC_INTERVAL)


def stale_from(at: datetime) -> int:
    """When data read at this moment will be stale, in Unix seconds."""
    return math.ceil(at.timestamp() + 2 * settings.TRAINMON_SYNC_INTERVAL)


def as_of(last_synced: datetime | None, followed: datetime | None) -> datetime | None:
    """The later of the two; what was never scanned is not known, whoever follows it."""
    return max(last_synced, followed) if last_synced and followed else last_synced


def is_syncing(holder: str, until: datetime | None) -> bool:
    """Whether this lease is a sync's; a follower has one for moments, again and again, and does not count."""
    return until is not None and until > now() and not holder.endswith(FOLLOWS)


class SourceQuerySet(models.QuerySet["Source"]):
    """Sources, by who may see them."""

    def visible_to(self, user: User | AnonymousUser) -> SourceQuerySet:
        """Only the sources of trainers that this user may see."""
        return self.filter(visible_trainers(user, "trainer__"))

    def ids_visible_to(self, user: User | AnonymousUser) -> set[int]:
        """The ids of all sources that this user may see: asked with every list of runs."""
        if not user.is_authenticated or not user.is_active or sees_everything(user):
            return set(self.visible_to(user).order_by().values_list("pk", flat=True))
        return {pk for (pk,) in _sources_of(private=settings.TRAINMON_PRIVATE).rows(user=user.pk)}


@cache
def _sources_of(*, private: bool) -> Compiled[Source]:
    rule = _trainers_of(Given("user"), "trainer__", private=private)
    return Compiled(Source.objects.filter(rule).order_by().values_list("pk"))


class Source(models.Model):
    """A folder of logs of one trainer: the one row that serving, scanning and cleaning use.

    ``leased_by``/``leased_until`` say which sync works on it now: claimed with one UPDATE,
    renewed by heartbeat, checked again in every transaction that writes (runs/lease.py).
    ``last_synced`` is when all of it was last looked at, ``followed`` up to when the follower
    knows what grows in it (runs/follow.py).
    ``verdicts`` and ``fingerprint`` are what the last complete scan saw, so that an
    unchanged tree costs one stat a file.
    """

    class Layout(models.TextChoices):
        AUTO = "auto", "judge each directory"
        FLAT = "flat", "the whole path is the run's name"
        DATASET_RUN = "dataset/run", "first folder is the dataset"

    class Status(models.TextChoices):
        NEW = "new", "never synced"
        OK = "ok", "synced"
        ERROR = "error", "failed"

    trainer = models.ForeignKey(Trainer, on_delete=models.PROTECT, related_name="sources")
    root = models.TextField(unique=True, help_text="Absolute path of the folder on this machine.")
    real_root = models.TextField(blank=True, editable=False, help_text="Where its links led when it was registered.")
    layout = models.CharField(max_length=20, choices=Layout, default=Layout.AUTO)
    enabled = models.BooleanField(default=True)
    status = models.CharField(max_length=10, choices=Status, default=Status.NEW, editable=False)
    last_synced = models.DateTimeField(null=True, editable=False)
    sync_seconds = models.FloatField(null=True, editable=False, help_text="What the last whole look at it took.")
    last_error = models.TextField(blank=True, editable=False)
    problems = models.JSONField(default=list, editable=False)
    device = models.BigIntegerField(null=True, editable=False)
    scanned_layout = models.CharField(max_length=20, blank=True, editable=False)
    pushed = models.BooleanField(
        default=False, editable=False, help_text="Below our own data directory: what trainers without a shared volume have sent."
    )
    loss_confirmed = models.BooleanField(
        "loss confirmed",
        default=False,
        help_text="Set when an empty or exchanged root is right: the next sync marks the vanished runs as missing.",
    )
    followed = models.DateTimeField(
        null=True, editable=False, help_text="Up to when a follower knows all that moves in it.")
    leased_by = models.CharField(max_length=200, blank=True, editable=False)
    leased_until = models.DateTimeField(null=True, editable=False)
    verdicts = models.BinaryField(default=b"", editable=False)
    fingerprint = models.BinaryField(default=b"", editable=False)

    objects = SourceQuerySet.as_manager()

    class Meta:
        ordering = ["trainer__name", "root"]

    def __str__(self) -> str:
        return f"{self.trainer.slug}={self.root_text}"

    def get_absolute_url(self) -> str:
        """The source's page."""
        return reverse("source", args=[self.pk])

    @property
    def root_text(self) -> str:
        """The root for people: without secrets."""
        return masks.path(self.root)

    @property
    def real_root_text(self) -> str:
        """Where it leads, for people."""
        return masks.path(self.real_root)

    @property
    def syncing(self) -> bool:
        """Whether a sync holds it now."""
        return is_syncing(self.leased_by, self.leased_until)

    @property
    def as_of(self) -> datetime | None:
        """The moment up to which its runs are known; None where it was never read.

        Where the last sync failed (its volume is not refreshed, say), a follower that reads on sees only what was there before.
        """
        return as_of(self.last_synced, None if self.status == self.Status.ERROR else self.followed)

    @property
    def is_followed(self) -> bool:
        """Whether a follower reads what grows in it as it grows."""
        return self.enabled and self.followed is not None and self.followed > now() - FOLLOWING

    @property
    def stale(self) -> bool:
        """Whether it was read once and not for two intervals, although it should have been."""
        return self.enabled and self.as_of is not None and self.as_of < stale_before()

    @property
    def state(self) -> str:
        """How it stands, in a word: what is worst about it."""
        if not self.enabled:
            return "disabled"
        if self.status == self.Status.ERROR:
            return "failing"
        if self.last_synced is None:
            return "never synced"
        return "stale" if self.stale else "synced"

    def clean(self) -> None:
        """Refuse a relative root, a place of our own, and one that contains, or lies in, another source's root."""
        if not Path(self.root).is_absolute() or "\0" in self.root:
            raise ValidationError({"root": f"{self.root!r} is not an absolute path."})
        self.root = os.path.normpath(self.root)
        # resolved once, now: resolving the others' roots here could hang on a dead mount
        self.real_root = os.path.realpath(self.root)
        if any(_is_our_own(Path(path)) for path in (self.root, self.real_root)):
            raise ValidationError({"root": f"{self.root} is where trainmon keeps archives, its trash, its database or its logs. "
                                           "Choose the folder that trainings write to."})
        for other in Source.objects.filter(enabled=True).exclude(pk=self.pk) if self.enabled else []:
            if self._overlaps(other):
                # unnamed: whoever adds a source may not see the other one's trainer
                raise ValidationError(
                    {"root": f"{self.root} and the root of another source contain one another: every run would be "
                             "registered twice. Change or disable one of them; an admin sees all sources."}
                )

    def lose_files(self) -> int:
        """The files of all its runs are gone; how many had any.  Were it only not mounted, the next sync looks at it anew."""
        missing = self.runs.active().filter(files_missing=False).update(files_missing=True)
        self.log_files.update(missing=True)
        Source.objects.filter(pk=self.pk).update(fingerprint=b"")
        return missing

    def _overlaps(self, other: Source) -> bool:
        """Whether the two roots, or where they led when they were registered, contain one another."""
        mine = {Path(self.root), Path(self.real_root)}
        theirs = {Path(other.root), Path(other.real_root or other.root)}
        return any(a == b or a in b.parents or b in a.parents for a in mine for b in theirs)


def _is_our_own(path: Path) -> bool:
    """Whether it is, or lies in, a place of ours: no cleanup works beside such a source, and buried runs would be others'."""
    places, archive = settings.PLACES, settings.TRAINMON_ARCHIVE.removeprefix("file://")
    ours = {places.logs, places.data.parent, places.sockets, places.backups, Path(archive), Path(os.path.realpath(archive))}
    return os.fsdecode(TRASH) in path.parts or not ours.isdisjoint({path, *path.parents})


class Dataset(models.Model):
    """What runs were trained on, as named by the folder above them."""

    trainer = models.ForeignKey(Trainer, on_delete=models.CASCADE, related_name="datasets")
    name = models.CharField(max_length=500)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["trainer", "name"], name="dataset_once_per_trainer")]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        """The run list of this dataset."""
        return f"{reverse('runs')}?dataset={self.pk}"
