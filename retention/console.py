"""Cleanup on a terminal: tables, sums, and questions whose answer is No unless somebody says Yes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, TextIO

from django.conf import settings
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress
from rich.table import Table
from rich.text import Text

from retention.candidates import Candidate
from retention.plan import Draft
from retention.telling import shown_path
from retention.work import Progress
from runs import units
from runs.audit import whoever as whoever  # commands ask it here
from runs.readers.naming import display
from runs.status import duration
from runs.units import size

#: Columns where no terminal says how many.
WIDTH = 140


def counted(count: int, one: str = "", many: str = "") -> str:
    """``1 run is``, ``2 runs are``: so many runs, and the words that go with one or with several."""
    return f"{units.counted(count)} {one if count == 1 else many}".rstrip()


def is_terminal() -> bool:
    """Whether somebody sits there who can be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def cell(text: str, style: str = "") -> Text:
    """Text for a cell: nothing in it is markup, an escape of the terminal or a line break."""
    return Text(display(text.encode("utf-8", "backslashreplace")), style)


def out(stream: TextIO | Any) -> Console:
    """Where tables go."""
    return Console(file=stream, width=None if is_terminal() else WIDTH, highlight=False)


def table(*columns: str, numeric: Iterable[str] = ()) -> Table:
    """An empty table with these columns."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        right = name in set(numeric)
        drawn.add_column(name, justify="right" if right else "left", no_wrap=right, overflow="fold")
    return drawn


def runs(rows: Sequence[Candidate], at: datetime) -> Table:
    """The numbered list that a selection is about."""
    numeric = ("#", "size", "event files", "points")
    drawn = table("#", "trainer", "dataset", "run", *numeric[1:], "last modified", "status", numeric=numeric)
    for number, row in enumerate(rows):
        modified = Text(f"{row.modified:%Y-%m-%d %H:%M}" if row.modified else "unknown", colour(row, at))
        drawn.add_row(
            str(number), cell(row.trainer), cell(row.dataset or "–"), cell(row.name), size(row.size), f"{row.event_files:,}",
            f"{row.points:,}", modified, cell(status(row)))
    total = [size(sum(row.size for row in rows)), f"{sum(row.event_files for row in rows):,}",
             f"{sum(row.points for row in rows):,}"]
    drawn.add_row("", "", "", counted(len(rows)), *total, "", "", style="bold")
    return drawn


def status(row: Candidate) -> str:
    """How it stands, and what protects it, in a few words."""
    marks = {"pinned": row.pinned, "bookmarked": row.bookmarked, "held": row.hold is not None}
    return ", ".join([row.status, *(mark for mark, on in marks.items() if on)])


def colour(row: Candidate, at: datetime) -> str:
    """green under TRAINMON_FRESH_DAYS, red from TRAINMON_OLD_DAYS, yellow between."""
    age = row.age(at)
    if age is None:
        return "dim"
    if age < timedelta(days=settings.TRAINMON_FRESH_DAYS):
        return "green"
    return "red" if age >= timedelta(days=settings.TRAINMON_OLD_DAYS) else "yellow"


def going(draft: Draft, at: datetime) -> Table:
    """The runs that would go, with what they hold and their age, and their total."""
    numeric = ("files", "size", "frees", "age")
    drawn = table("run", "folder", *numeric, "because", numeric=numeric)
    for one in draft.going:
        drawn.add_row(cell(_name(one.candidate)), cell(shown_path(one.candidate)), f"{one.seen.files:,}", size(one.seen.size),
                      size(one.seen.frees), old(one.candidate, at), cell(one.reason))
    drawn.add_row(counted(len(draft.going)), "", f"{draft.total('files'):,}", size(draft.total("size")),
                  size(draft.total("frees")), "", "", style="bold")
    return drawn


def old(row: Candidate, at: datetime) -> Text:
    """Its age, in the colour of it."""
    age = row.age(at)
    return Text("unknown" if age is None else duration(age.total_seconds()), colour(row, at))


def staying(draft: Draft) -> Table:
    """The chosen runs that must stay, each with its reason."""
    return kept((one.candidate, one.refusal) for one in draft.staying)


def kept(said: Iterable[tuple[Candidate, str]]) -> Table:
    """Runs that stay, each with its reason."""
    drawn = table("stays", "because")
    for row, why in said:
        drawn.add_row(cell(_name(row)), cell(why))
    return drawn


def manner(draft: Draft) -> str:
    """How it is to be done, in a sentence."""
    first = "archived and checked first, then moved" if draft.options.archive else "moved WITHOUT an archive"
    grace = draft.options.grace.total_seconds()
    lasting = f"for {duration(grace)}" if grace else "until the next --purge"
    forget = "; with their purge their points are dropped from the registry" if draft.options.forget_metrics else ""
    return f"{first} to the trash, from where they can be restored {lasting}{forget}"


@contextmanager
def bar(total: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Progress of a plan: runs looked at, on standard error where a terminal is there."""
    with _progress(TextColumn("looking at runs"), BarColumn(), MofNCompleteColumn(), quiet=quiet) as drawn:
        task = drawn.add_task("", total=total)
        yield lambda number: drawn.update(task, completed=number)


@contextmanager
def steps(total: int, archive: bool, *, quiet: bool) -> Iterator[Callable[[Progress], None]]:
    """Progress of the work: bytes written and read again for the archives, then bytes moved."""
    columns = TextColumn("{task.fields[what]}", markup=False), BarColumn(), DownloadColumn(binary_units=True)
    with _progress(*columns, TimeElapsedColumn(), quiet=quiet) as drawn:
        # an archive is written, then read again
        task = drawn.add_task("", total=total * (3 if archive else 1), what="")
        yield lambda said: drawn.update(
            task, advance=said.bytes, what=f"{said.step} {display(said.run.encode('utf-8', 'backslashreplace'))[:40]}")


def _progress(*columns: ProgressColumn, quiet: bool) -> RichProgress:
    return RichProgress(*columns, console=Console(stderr=True), disable=quiet or not sys.stderr.isatty())


def ask(question: str) -> str | None:
    """What somebody answers; None where they leave (Ctrl-C, Ctrl-D)."""
    try:
        return input(question)
    except (EOFError, KeyboardInterrupt):
        print()
        return None


def agrees(question: str) -> bool:
    """Whether somebody says yes; anything else is No."""
    return (ask(f"{question} [y/N] ") or "").strip().lower() in {"y", "yes"}


def _name(row: Candidate) -> str:
    return f"{row.dataset} / {row.name}" if row.dataset else row.name
