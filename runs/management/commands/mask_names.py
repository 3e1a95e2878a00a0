"""manage.py mask_names: take secrets out of names that were stored before they were masked."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from runs.masking import mask_stored


class Command(BaseCommand):
    """What is masked stays: it can be run again and again, also while trainmon runs."""

    help = "Mask secrets in stored names of metrics, datasets, runs, jobs, samples and checkpoints, as a sync does today."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only count them")

    def handle(self, *args: Any, **options: Any) -> None:
        found = mask_stored(write=not options["dry_run"])
        for words, number in found.items():
            self.stdout.write(f"{number:>9,}  {words}")
        done = "would be masked" if options["dry_run"] else "masked"
        self.stdout.write(f"{sum(found.values()):,} names {done}" if found else "No stored name holds a secret.")
