"""TensorBoards as the supervisor's rows tell them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils.timezone import now

from runs.models import Trainer
from streaming.models import TensorBoard


def make_board(trainer: Trainer, **fields: Any) -> TensorBoard:
    """One that runs since an hour and was looked at a moment ago."""
    at = now()
    defaults: dict[str, Any] = {
        "state": "running", "since": at - timedelta(hours=1), "started": at - timedelta(hours=1), "seen": at,
        "version": "2.21.0", "pid": 4711, "memory": 300 * 1024 * 1024, "runs_served": 18, "runs_on_disk": 18, "counted": at,
        "socket": "/nowhere/http.sock",
    }
    return TensorBoard.objects.create(trainer=trainer, **{**defaults, **fields})
