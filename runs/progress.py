"""A sync's progress and summary on a terminal."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.table import Table

from runs.scan import Progress, Synced
from runs.units import size

GB = 1024**3


class Bar:
    """One source's progress; on standard error, so that standard output stays clean.

    Refreshed only when told (no thread of its own: the sync forks while it is shown).
    """

    def __init__(self, title: str, *, quiet: bool) -> None:
        shown = not quiet and sys.stderr.isatty()
        self.rich = RichProgress(
            TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[what]}", markup=False),
            DownloadColumn(binary_units=True), TimeElapsedColumn(), console=Console(stderr=True),
            auto_refresh=False, disable=not shown)
        self.title = title
        self.task: TaskID = self.rich.add_task(title, total=None, what="")

    def __enter__(self) -> Bar:
        self.rich.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.rich.stop()

    def show(self, progress: Progress) -> None:
        """Draw what the sync reported."""
        what = f"{progress.files:,} files" if progress.phase == "scanning" else (
            f"{progress.runs_done:,} of {progress.runs_total:,} runs" if progress.runs_total else progress.phase)
        self.rich.update(self.task, completed=progress.bytes_read, total=progress.bytes_total or None, what=what, refresh=True)

    def wait(self, holder: str) -> None:
        """Say that another sync is at work on the source."""
        self.rich.update(self.task, what="waiting for another sync", refresh=True)


def table(outcomes: list[Synced], out: Any) -> None:
    """One row a source, and their total where there are several."""
    if not outcomes:
        return
    names = ["runs", "new", "grown", "unchanged", "moved", "missing", "damaged", "points"]
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    drawn.add_column("source", overflow="fold")
    for name in [*names, "read", "time"]:
        drawn.add_column(name, justify="right", no_wrap=True)
    rows = [(one.source + (" (dry run)" if one.dry_run else ""), one) for one in outcomes]
    for title, one in rows:
        drawn.add_row(_plain(title), *(f"{getattr(one, name):,}" for name in names), size(one.bytes_read), f"{one.seconds:.2f} s")
    if len(outcomes) > 1:
        total = [f"{sum(getattr(one, name) for one in outcomes):,}" for name in names]
        drawn.add_row("total", *total, size(sum(one.bytes_read for one in outcomes)),
                      f"{sum(one.seconds for one in outcomes):.2f} s", style="bold")
    console = Console(file=out, width=None if sys.stdout.isatty() else 140, highlight=False)
    console.print(drawn)


def _plain(text: str) -> str:
    """Text for a cell, its square brackets not taken for markup."""
    return text.replace("[", "\\[")
