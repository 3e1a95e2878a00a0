"""manage.py demo: a small real training on the CPU, registered as a demo."""

from __future__ import annotations

import signal
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from runs.demo import train
from runs.models import Source, Trainer
from runs.scan import Failed
from runs.sources import register
from runs.sync import sync

SLUG = "demo"


class Command(BaseCommand):
    """Trains below ``--into`` (default: demo/ in the data directory) and registers it."""

    help = "Train a small network on the CPU (seconds) and register its logs, labelled as demo."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--into", type=Path, default=settings.HOME / "demo", help="folder for the logs")
        parser.add_argument("--again", action="store_true", help="train once more where a demo is there already")
        parser.add_argument(
            "--live", action="store_true", help="register first, then train slowly, to be watched where the logs are followed")

    def handle(self, *args: Any, **options: Any) -> None:
        root: Path = options["into"].absolute()
        wanted = not root.exists() or options["again"]
        root.mkdir(parents=True, exist_ok=True)
        if options["live"]:
            # what stops us stops the trainings, too
            signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
            self.register(root)
        if wanted:
            for name in train(root, live=options["live"]):
                self.stdout.write(f"demo: trained {name}")
        if not options["live"]:
            outcome = sync(self.register(root).pk, isolate="fork")
            if isinstance(outcome, Failed):
                raise CommandError(f"{outcome.source}: {outcome.error}")
        self.stdout.write(f"demo: logs in {root}, runs labelled demo")

    def register(self, root: Path) -> Source:
        """The demo's source and trainer."""
        try:
            source = register(f"{SLUG}={root}", demo=True)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        Trainer.objects.filter(pk=source.trainer_id).update(
            name="Demo", description="A small network on the CPU: real logs of no real work.")
        return source
