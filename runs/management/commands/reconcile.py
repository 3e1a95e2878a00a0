"""manage.py reconcile: compare the registry with a second reading of the files."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import track
from rich.table import Table

from runs.models import Run
from runs.reconcile.compare import compare
from runs.reconcile.outcome import Compared

#: Differences and notes that are printed one by one (--json has up to 100 a run).
PRINTED = 50


class Command(BaseCommand):
    """Exit codes: 0 no difference, 1 differences (named), 2 bad arguments."""

    help = "Read the files again with TensorBoard's own classes and compare every count and value."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--run", metavar="ID", type=int, help="only this run")
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        runs = Run.objects.active() if options["run"] is None else Run.objects.filter(pk=options["run"])
        chosen = list(runs.order_by("pk").values_list("pk", flat=True))
        if options["run"] is not None and not chosen:
            raise CommandError(f"no run has the id {options['run']}", returncode=2)
        began, total = time.monotonic(), Compared()
        quiet = options["json"] or not sys.stderr.isatty()
        for run_id in track(chosen, "comparing", console=Console(stderr=True), disable=quiet):
            total.add(compare(run_id))
        seconds = time.monotonic() - began
        if options["json"]:
            self.stdout.write(json.dumps(
                {**dataclasses.asdict(total), "seconds": round(seconds, 3), "ok": not total.found}, indent=2))
        else:
            self.summarize(total, seconds)
        if total.found:
            sys.exit(1)

    def summarize(self, total: Compared, seconds: float) -> None:
        """The table of what was compared, and under it what differs or could not be compared."""
        names = ["runs", "files", "records", "points", "texts", "samples"]
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in [*names, "differences", "time"]:
            table.add_column(name, justify="right", no_wrap=True)
        table.add_row(*(f"{getattr(total, name):,}" for name in names), f"{total.found:,}", f"{seconds:.1f} s")
        out: Any = self.stdout
        Console(file=out, width=None if sys.stdout.isatty() else 140, highlight=False).print(table)
        for difference in total.differences[:PRINTED]:
            self.stderr.write(self.style.ERROR(str(difference)))
        for note in total.notes[:PRINTED]:
            self.stderr.write(str(note))
        left = len(total.differences[PRINTED:]) + len(total.notes[PRINTED:])
        if left:
            self.stderr.write(f"and {left:,} more lines: --json has them")
