"""`manage.py restore_backup`: a backup into an empty or a new database."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import psycopg
from django.core.management.base import BaseCommand, CommandError

from trainmon.backup import Refused, restore
from trainmon.embedded.binaries import NoBinary


class Command(BaseCommand):
    """A door to trainmon.backup.restore."""

    help = "Restore a backup into the configured database if that is empty, or into a new one, and compare the rows."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """What, and where to."""
        parser.add_argument("file", type=Path, help="as written by `manage.py backup`, its manifest beside it")
        parser.add_argument("--into", default="", metavar="NAME", help="make a new database of this name for it")

    def handle(self, *args: Any, file: Path, into: str, **options: Any) -> None:
        """All of it or nothing."""
        try:
            manifest = restore(file.absolute(), into)
        except (Refused, NoBinary, OSError, psycopg.Error) as error:
            raise CommandError(f"Nothing was restored. {error}") from error
        where = f"the new database {into}" if into else "the database"
        self.stdout.write(
            f"{manifest.total_rows:,} rows of {len(manifest.rows)} tables are in {where}, as of {manifest.made}.\n"
            "Next: `manage.py migrate` (`make up` does it), for migrations that are newer than the backup."
        )
