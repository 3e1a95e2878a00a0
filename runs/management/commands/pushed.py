"""manage.py pushed: what trainers have sent that belongs to no source any more, and to delete it."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from runs import audit, pushed
from runs.readers.naming import display
from runs.units import counted, size


class Command(BaseCommand):
    """Exit codes: 0 done, 1 not confirmed, 2 no such folder, or nobody there to ask."""

    help = "List folders of pushed files whose source was deleted, or delete one of them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--delete", metavar="FOLDER", help="one that is listed, with all that is in it")
        parser.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *args: Any, **options: Any) -> None:
        found = pushed.forsaken()
        if options["delete"] is None:
            for name in found:
                self.stdout.write(self.words(name))
            return self.stdout.write(
                "--delete FOLDER removes one; sync_runs SLUG=PATH makes a trainer's source of it." if found
                else "All that was pushed belongs to a source.")
        name = options["delete"]
        if name not in found:
            raise CommandError(f"{display(os.fsencode(name))} is no folder that is listed: runs of a source are cleaned up "
                               "instead (manage.py cleanup).", returncode=2)
        self.stdout.write(self.words(name))
        if not options["yes"]:
            if not sys.stdin.isatty():
                raise CommandError("Nobody is there to ask: --yes deletes it.", returncode=2)
            try:
                typed = input("Type its name to delete it for good: ")
            except (EOFError, KeyboardInterrupt):
                typed = ""
            if typed != name:
                raise CommandError("Nothing was deleted.")
        pushed.forget(name, by=audit.whoever())
        self.stdout.write("Deleted.")

    def words(self, name: str) -> str:
        """A line of the list."""
        used, files = pushed.sum_of(name)
        return f"{display(os.fsencode(name))}: {counted(files, 'file')}, {size(used)}"
