"""The columns of a list of runs: what each is called, shows and sorts by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runs.query.grammar import FUNCTIONS, Metric, Param, Unclear, key, shown

if TYPE_CHECKING:
    from runs.models import Run
    from runs.query.rows import BareRun


@dataclass(frozen=True, slots=True)
class Column:
    """A column: ``kind`` says how a cell is written (status, text, number, count, size, time, duration, ...).

    ``first`` is - where the first click on its heading sorts downwards, ``reads`` the fields of a run that a
    cell is made of.
    """

    key: str
    label: str
    kind: str
    value: Callable[[Any], Any]
    sortable: bool = True
    first: str = ""
    source: Metric | Param | None = None
    reads: tuple[str, ...] = ()

    def cell(self, run: Run | BareRun) -> Any:
        """What the run has in this column, unformatted; None where there is nothing."""
        return self.value(run)


def _column(
    key: str, label: str, kind: str, value: Callable[[Run], Any], *reads: str, sortable: bool = True
) -> Column:
    first = "-" if kind in ("count", "size", "time", "duration", "progress") else ""
    return Column(key, label, kind, value, sortable, first, reads=reads)


#: The columns that every run has, in the order in which a picker offers them.
PLAIN: dict[str, Column] = {
    column.key: column
    for column in (
        _column("status", "Status", "status", lambda run: run.status, "status"),
        _column("name", "Name", "name", lambda run: run.name, "name"),
        _column("dataset", "Dataset", "text", lambda run: run.dataset.name if run.dataset else None),
        _column("trainer", "Trainer", "trainer", lambda run: run.source.trainer.name),
        _column("step", "Step", "count", lambda run: run.step, "step"),
        _column("progress", "Progress", "progress", lambda run: run.progress, "step", "total_steps", "early_stopped"),
        _column("epoch", "Epoch", "number", lambda run: run.epoch, "epoch"),
        _column("metric", "Metric", "metric", lambda run: run.cells.get("metric")),
        _column("duration", "Duration", "duration", lambda run: run.duration, "started", "ended", "last_event"),
        _column("started", "Started", "time", lambda run: run.started, "started"),
        _column("modified", "Modified", "time", lambda run: run.modified, "modified"),
        _column("size", "Size", "size", lambda run: run.size, "size"),
        _column("points", "Points", "count", lambda run: run.point_count, "point_count"),
        _column("files", "Files", "count", lambda run: run.event_file_count, "event_file_count"),
        _column("gpu", "GPU", "text", lambda run: gpu(run), "gpu_type", "gpu_count"),
        _column("host", "Host", "text", lambda run: run.host or None, "host"),
        _column("tags", "Tags", "tags", lambda run: run.tags, "tags", sortable=False),
        _column("notes", "Notes", "count", lambda run: run.cells.get("notes")),
    )
}
DEFAULT = (
    "status", "name", "trainer", "step", "metric", "points", "files", "size", "modified", "started", "duration"
)


def column_of(text: str) -> Column:
    """The column that a key means, else Unclear."""
    meant = key(text)
    if isinstance(meant, Metric):
        of = "" if meant.of == "last" else f" {meant.of}"
        return Column(str(meant), f"{meant.tag}{of}", "number", cell_of(str(meant)), first="-", source=meant)
    if isinstance(meant, Param):
        return Column(str(meant), meant.name, "param", cell_of(str(meant)), source=meant)
    if meant not in PLAIN:
        raise Unclear(
            f"{shown(meant)} is no column. There are {', '.join(PLAIN)}; "
            f"a metric is {', '.join(f'{function}(name)' for function in FUNCTIONS)}, a parameter param:name."
        )
    return PLAIN[meant]


def cell_of(key: str) -> Callable[[Run], Any]:
    """A cell that was fetched for the whole page."""
    return lambda run: run.cells.get(key)


def gpu(run: Run) -> str | None:
    """2 x A100: what of it is known."""
    if run.gpu_count and run.gpu_type:
        return f"{run.gpu_count} x {run.gpu_type}"
    return run.gpu_type or (f"{run.gpu_count} GPUs" if run.gpu_count else None)
