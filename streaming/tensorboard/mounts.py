"""Where the sources of a trainer lie below the one folder that its TensorBoard reads, and so what it calls their runs."""

from __future__ import annotations

import os
from collections.abc import Iterable

from runs.models import Run, Source, Trainer

LOGDIR = "/logs"


def sources_of(trainer: Trainer) -> list[Source]:
    """The enabled sources, in the order that gives them their names."""
    return sorted((source for source in trainer.sources.all() if source.enabled), key=lambda source: source.pk)


def mounted(sources: Iterable[Source]) -> dict[Source, str]:
    """The folder of each source below LOGDIR: none where there is only one, so that runs are called as in the registry."""
    ordered = sorted(sources, key=lambda source: source.pk)
    if len(ordered) == 1:
        return {ordered[0]: ""}
    names: dict[Source, str] = {}
    for source in ordered:
        name = folder = os.path.basename(source.root) or "root"
        number = 1
        while name in names.values():
            number += 1
            name = f"{folder}-{number}"
        names[source] = name
    return names


def run_name(run: Run) -> str:
    """What TensorBoard calls a run: its path below LOGDIR, `.` for LOGDIR itself."""
    prefix = mounted(sources_of(run.source.trainer)).get(run.source, "")
    path = bytes(run.path).decode(errors="replace")
    return os.path.normpath(os.path.join(prefix, path)) if prefix or path else "."
