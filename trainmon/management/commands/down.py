"""`manage.py down`: stop what `up` runs on this data directory."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from trainmon.embedded.running import process_of, wait_until_free, who_runs


class Command(BaseCommand):
    """Ask the supervisor to stop and wait until it has."""

    help = "Stop the site, its workers and the embedded servers that `up` runs on this data directory."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """How patient to be."""
        parser.add_argument("--timeout", type=float, default=60.0, help="seconds to wait (default 60)")

    def handle(self, *args: Any, timeout: float, **options: Any) -> None:
        """Nothing running is a normal answer."""
        who = who_runs(settings.PLACES)
        if who is None:
            self.stdout.write(f"Nothing runs on {settings.HOME}.")
            return
        process = process_of(who)
        if process is None:
            raise CommandError(f"{settings.PLACES.up_lock} is held, but pid {who.pid} is not a `manage.py up`.")
        self.stdout.write(f"Stopping {who} ...")
        process.terminate()
        if not wait_until_free(settings.PLACES, timeout):
            raise CommandError(f"pid {who.pid} has not stopped within {timeout:.0f} s; see {settings.PLACES.logs}")
        self.stdout.write("Stopped.")
