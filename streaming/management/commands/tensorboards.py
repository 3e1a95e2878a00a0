"""`manage.py tensorboards`: keep the TensorBoard of every trainer running, until SIGTERM or Ctrl-C."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from streaming.tensorboard.supervisor import AlreadyRunning, keep_all


class Command(BaseCommand):
    """A door to streaming.tensorboard.supervisor."""

    help = "Keep a TensorBoard for each trainer: start, watch, start anew, put to sleep; one such process a data directory."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        """Two exclude each other."""
        try:
            keep_all()
        except AlreadyRunning as other:
            raise CommandError(str(other)) from None
