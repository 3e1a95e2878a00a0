"""TensorBoard: the one that each trainer has, what people want of it and how it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from runs.models import Trainer
from runs.models.trainer import visible_trainers

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User


class TensorBoardQuerySet(models.QuerySet["TensorBoard"]):
    """TensorBoards, by who may see them."""

    def visible_to(self, user: User | AnonymousUser) -> TensorBoardQuerySet:
        """Only those of trainers that this user may see."""
        return self.filter(visible_trainers(user, "trainer__"))


class TensorBoard(models.Model):
    """The TensorBoard of one trainer.

    The upper half is what people want, written by pages, admin and proxy; the lower half is how it stands,
    written by the supervisor alone (streaming/tensorboard/supervisor.py), which looks at the upper half each second.
    """

    class Mode(models.TextChoices):
        ALWAYS = "always", "always on"
        DEMAND = "demand", "asleep while nobody looks"
        STOPPED = "stopped", "stopped"

    class State(models.TextChoices):
        STOPPED = "stopped", "stopped"
        ASLEEP = "asleep", "asleep"
        STARTING = "starting", "starting"
        RUNNING = "running", "running"
        FAILED = "failed", "failed"

    trainer = models.OneToOneField(Trainer, on_delete=models.CASCADE, related_name="tensorboard")
    mode = models.CharField(max_length=10, choices=Mode, default=Mode.ALWAYS)
    until = models.DateTimeField(null=True, blank=True, help_text="It runs until then, whatever its mode; then as the mode says.")
    executable = models.CharField(
        max_length=500, blank=True, help_text="Another TensorBoard's program, one of TRAINMON_TB_PROGRAMS; empty: trainmon's own."
    )
    arguments = models.JSONField(default=list, blank=True, help_text="More arguments, as a list of strings.")
    reload_interval = models.PositiveIntegerField(default=30, validators=[MinValueValidator(1), MaxValueValidator(86_400)],
                                                  help_text="Seconds between two looks at the logs.")
    memory_limit = models.PositiveIntegerField(default=4096, validators=[MinValueValidator(256)],
                                               help_text="MiB; above it, it is started anew.")
    idle_after = models.PositiveIntegerField(default=30, validators=[MinValueValidator(1)],
                                             help_text="Minutes without a visit until it falls asleep.")
    restart_asked = models.DateTimeField(null=True, editable=False)
    visited = models.DateTimeField(null=True, editable=False)

    state = models.CharField(max_length=10, choices=State, default=State.STOPPED, editable=False)
    since = models.DateTimeField(null=True, editable=False)
    reason = models.TextField(blank=True, editable=False)
    log_tail = models.TextField(blank=True, editable=False)
    socket = models.TextField(blank=True, editable=False, help_text="Where the proxy reaches it.")
    version = models.CharField(max_length=50, blank=True, editable=False)
    pid = models.IntegerField(null=True, editable=False)
    memory = models.BigIntegerField(null=True, editable=False, help_text="Bytes.")
    started = models.DateTimeField(null=True, editable=False)
    restarts = models.PositiveIntegerField(default=0, editable=False)
    next_try = models.DateTimeField(null=True, editable=False)
    seen = models.DateTimeField(null=True, editable=False, help_text="When the supervisor last looked at it.")
    runs_served = models.PositiveIntegerField(null=True, editable=False)
    runs_on_disk = models.PositiveIntegerField(null=True, editable=False)
    counted = models.DateTimeField(null=True, editable=False)

    objects = TensorBoardQuerySet.as_manager()

    class Meta:
        verbose_name = "TensorBoard"
        ordering = ["trainer__name"]

    def __str__(self) -> str:
        return f"TensorBoard of {self.trainer}"


class TensorBoardTransition(models.Model):
    """One change of state, and why: what the trainer's page and the alerts tell."""

    tensorboard = models.ForeignKey(TensorBoard, on_delete=models.CASCADE, related_name="transitions")
    old = models.CharField(max_length=10, choices=TensorBoard.State)
    new = models.CharField(max_length=10, choices=TensorBoard.State)
    reason = models.TextField(blank=True)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["tensorboard", "id"]

    def __str__(self) -> str:
        return f"{self.old} -> {self.new}"
