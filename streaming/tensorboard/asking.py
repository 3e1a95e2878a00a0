"""What people ask of a trainer's TensorBoard: page, admin and API write it down here, the supervisor does it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import models, transaction
from django.utils.timezone import now

from runs import audit
from streaming.models import TensorBoard

if TYPE_CHECKING:
    from django.http import HttpRequest

    from runs.models import Trainer

Mode, State = TensorBoard.Mode, TensorBoard.State
#: Minutes for which one can be asked to run: a week.
MOST_MINUTES = 7 * 24 * 60


class Wish(models.TextChoices):
    """What can be asked for."""

    START = "start", "Start"
    STOP = "stop", "Stop"
    RESTART = "restart", "Restart"
    ALWAYS = "always", "Always on"
    DEMAND = "demand", "Asleep while nobody looks"


def ask(request: HttpRequest, trainer: Trainer, wish: str, minutes: int | None = None) -> TensorBoard:
    """Write a wish down, and who had it; its row, which the supervisor looks at each half second."""
    with transaction.atomic():
        TensorBoard.objects.get_or_create(trainer=trainer)
        board = TensorBoard.objects.select_for_update().select_related("trainer").get(trainer=trainer)
        changes = wanted(board, Wish(wish), minutes, now())
        for name, value in changes.items():
            setattr(board, name, value)
        board.save(update_fields=list(changes))
        details: dict[str, Any] = {"mode": board.mode} | ({"minutes": minutes} if minutes else {})
        audit.record(request, f"{wish} tensorboard", trainer, **details)
    return board


def wanted(board: TensorBoard, wish: Wish, minutes: int | None, at: datetime) -> dict[str, Any]:
    """The fields that a wish changes."""
    if wish == Wish.STOP:
        return {"mode": Mode.STOPPED, "until": None}
    if wish in (Wish.ALWAYS, Wish.DEMAND):  # who looks at its page now has looked
        return {"mode": Mode(wish.value), "until": None, "visited": at}
    changes: dict[str, Any] = {"visited": at}
    if minutes:  # what is always on would not end with them
        mode = Mode.DEMAND if board.mode == Mode.DEMAND else Mode.STOPPED
        changes |= {"until": at + timedelta(minutes=minutes), "mode": mode}
    elif board.mode == Mode.STOPPED and not (board.until and board.until > at):
        changes |= {"until": None, "mode": Mode.ALWAYS}
    # to start what runs already changes nothing; what failed is tried at once
    if wish == Wish.RESTART or board.state not in (State.RUNNING, State.STARTING):
        changes["restart_asked"] = at
    return changes
