"""What the pages tell of a TensorBoard."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from django.db.models import Prefetch
from django.utils.timezone import now

from runs import redact
from runs.models import Source, Trainer
from runs.roles import sees_tensorboard
from streaming.models import TensorBoard, TensorBoardTransition
from streaming.tensorboard.links import board_url

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

Mode, State = TensorBoard.Mode, TensorBoard.State
#: The supervisor says every few seconds that it lives: after this it does not.
UNSEEN = timedelta(seconds=30)
#: Changes of state that are shown; trainers that the list shows.
SHOWN, MOST = 5, 500
#: The sign of a state, as of a run's status.
MARKS = {"running": "running", "starting": "queued", "asleep": "unknown", "stopped": "killed", "failed": "failed"}
NONE_YET = "Nothing has made it yet: the service of TensorBoards (manage.py tensorboards) does that as soon as it runs."
NO_SOURCE = "No source of this trainer is enabled."
CHANGE = "streaming.change_tensorboard"


@dataclass(frozen=True)
class Panel:
    """A TensorBoard as one user is shown it."""

    trainer: Trainer
    board: TensorBoard
    user: User | AnonymousUser

    @property
    def mark(self) -> str:
        """The sign beside its state; one that nobody keeps is not known to run."""
        return MARKS[self.board.state] if self.is_kept else "unknown"

    @property
    def reason(self) -> str:
        """Why it stands so, without secrets."""
        return redact.text(self.board.reason)

    @property
    def is_kept(self) -> bool:
        """Whether a supervisor has looked at it just now."""
        return self.board.seen is not None and self.board.seen > now() - UNSEEN

    @property
    def url(self) -> str:
        """Where it is opened; empty for whom it is not."""
        return board_url(self.trainer.slug) if self.may_open else ""

    @cached_property
    def may_open(self) -> bool:
        """Whether this user may see logs in their own words."""
        return sees_tensorboard(self.user)

    @cached_property
    def may_change(self) -> bool:
        """Whether this user may start and stop it."""
        return self.user.has_perm(CHANGE)

    @property
    def is_on(self) -> bool:
        """Whether it is wanted to run, or to wake when somebody looks."""
        return self.board.mode != Mode.STOPPED or self.is_timed

    @property
    def is_timed(self) -> bool:
        """Whether it runs until a moment that is still to come."""
        return self.board.until is not None and self.board.until > now()

    @property
    def is_running(self) -> bool:
        """Whether it ran when it was last looked at."""
        return self.board.state == State.RUNNING

    @property
    def uptime(self) -> timedelta | None:
        """How long it has been running."""
        return now() - self.board.started if self.board.started and self.is_running and self.is_kept else None

    @property
    def memory_limit(self) -> int:
        """Bytes above which it is started anew."""
        return self.board.memory_limit * 1024 * 1024

    @property
    def shows_nothing(self) -> bool:
        """Whether it runs and serves no run although there are some."""
        return self.is_running and self.board.runs_served == 0 and bool(self.board.runs_on_disk)

    @property
    def log_tail(self) -> str:
        """The end of its log as it failed, for those who keep it; also while it is tried again, which takes far longer."""
        if self.board.state not in (State.FAILED, State.STARTING) or not self.may_change:
            return ""
        return "\n".join(redact.text(line) for line in self.board.log_tail.splitlines()[-40:])

    @cached_property
    def transitions(self) -> list[TensorBoardTransition]:
        """How its state changed last, newest first."""
        if self.board.pk is None:
            return []
        rows = list(self.board.transitions.order_by("-id")[:SHOWN])
        for row in rows:
            row.reason = redact.text(row.reason)
        return rows


def panel_of(trainer: Trainer, user: User | AnonymousUser) -> Panel:
    """The TensorBoard of a trainer; where none was made yet, one that says why."""
    return _panel(trainer, TensorBoard.objects.filter(trainer=trainer).first(), user)


def panels(user: User | AnonymousUser) -> list[Panel]:
    """Those of all trainers that a user sees."""
    trainers = Trainer.objects.visible_to(user).select_related("tensorboard").defer("tensorboard__log_tail")
    few = Prefetch("sources", Source.objects.only("trainer", "enabled"))
    return [_panel(trainer, getattr(trainer, "tensorboard", None), user) for trainer in trainers.prefetch_related(few)[:MOST]]


def _panel(trainer: Trainer, board: TensorBoard | None, user: User | AnonymousUser) -> Panel:
    if board is None:
        sources = any(source.enabled for source in trainer.sources.all())
        board = TensorBoard(trainer=trainer, reason=NONE_YET if sources else NO_SOURCE)
    return Panel(trainer, board, user)
