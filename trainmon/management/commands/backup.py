"""`manage.py backup`: the whole database into one file that has been read back."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from trainmon.backup import Refused, back_up, manifest_path
from trainmon.embedded.binaries import NoBinary


class Command(BaseCommand):
    """A door to trainmon.backup.back_up."""

    help = "Write the whole database to a new file, verify it, and put a manifest beside it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Where to."""
        parser.add_argument("file", nargs="?", type=Path, help="default: in backups/ of TRAINMON_HOME")

    def handle(self, *args: Any, file: Path | None, **options: Any) -> None:
        """Say what was written."""
        target = (file or settings.PLACES.backups / f"{datetime.now(UTC):%Y%m%d-%H%M%S}.trainmon").absolute()
        try:
            manifest = back_up(target)
        except (Refused, NoBinary, OSError, psycopg.Error) as error:
            raise CommandError(f"No backup was made. {error}") from error
        self.stdout.write(
            f"{target}: {manifest.size:,} bytes, {manifest.total_rows:,} rows of {len(manifest.rows)} tables\n"
            f"sha256 {manifest.sha256}, in {manifest_path(target).name}; keep the two together"
        )
