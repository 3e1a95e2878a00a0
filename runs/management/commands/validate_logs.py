"""manage.py validate_logs: whether lines of logs are what they should be, and hold no secret."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from runs.readers.naming import display
from runs.wellformed import LONGEST, SERVICES, reasons

#: Reasons that are named of each file.
NAMED = 100


class Command(BaseCommand):
    """Exit codes: 0 all well, 1 with each wrong line named, 2 for what cannot be read."""

    help = "Check log files: JSON, fields, levels, times, correlation ids, and that no secret is in them."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("paths", nargs="*", metavar="PATH", help="files, folders (their *.log, *.log.1 and *.jsonl), or - "
                            "for standard input (default: the logs of trainmon's own services)")

    def handle(self, *args: Any, paths: list[str], **options: Any) -> None:
        lines = wrong = 0
        for name, file in self.files(paths):
            with file:
                count, bad = self.judge(name, file)
            lines, wrong = lines + count, wrong + bad
        self.stdout.write(f"{lines:,} lines, {wrong:,} of them wrong")
        if wrong:
            sys.exit(1)

    def files(self, paths: list[str]) -> Iterator[tuple[str, IO[bytes]]]:
        """Each file, opened."""
        named = [Path(path) for path in paths] or [path for path in logs_of(settings.PLACES.logs) if is_ours(path)]
        for path in named:
            if str(path) == "-":
                yield "-", sys.stdin.buffer
                continue
            for one in logs_of(path) if path.is_dir() else [path]:
                try:
                    file = one.open("rb")
                except (OSError, ValueError) as error:
                    said = getattr(error, "strerror", "") or error
                    raise CommandError(f"{shown(str(one))}: {said}", returncode=2) from error
                yield str(one), file

    def judge(self, name: str, file: IO[bytes]) -> tuple[int, int]:
        """How many lines a file has, and how many of them are wrong; these are named."""
        number = wrong = named = 0
        while raw := file.readline(LONGEST + 1):
            number += 1
            found = list(reasons(raw))
            wrong += bool(found)
            for reason in found:
                named += 1
                if named <= NAMED:
                    self.stdout.write(f"{shown(name)}:{number}: {shown(reason)}")
            while len(raw) > LONGEST and not raw.endswith(b"\n"):  # the rest of the same line
                raw = file.readline(LONGEST + 1)
        if named > NAMED:
            self.stdout.write(f"{shown(name)}: and {named - NAMED:,} more")
        return number, wrong


def shown(text: str) -> str:
    """Names of files and fields may hold terminal escapes."""
    return display(text.encode(errors="backslashreplace"))


def logs_of(folder: Path) -> list[Path]:
    """The logs that lie in a folder."""
    return sorted(path for pattern in ("*.log", "*.log.1", "*.jsonl") for path in folder.glob(pattern) if path.is_file())


def is_ours(path: Path) -> bool:
    """Whether a service of ours writes it: PostgreSQL and Valkey have words of their own."""
    return path.name.partition(".")[0] in SERVICES
