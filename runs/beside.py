"""What lies beside the events: trainer_state.json, configurations, results; job logs' names."""

from __future__ import annotations


from typing import Any

from django.db import transaction

from runs import facts
from runs.lease import Lease
from runs.models import Run
from runs.models.run import Status
from runs.plain import plain
from runs.readers import jsonl
from runs.readers.found import Peeked

#: A sidecar above this is not read.
SIDECAR_BYTES = 16 * 1024 * 1024


def peek_job_log(seen: jsonl.Dialect | jsonl.Undecided | None) -> Peeked | None:
    """What the first lines of a .jsonl file tell the scan."""
    if isinstance(seen, jsonl.Undecided):
        return Peeked(settled=False)
    if seen is None:
        return Peeked(settled=True)
    return Peeked(dialect=seen.name, named=tuple(name for name in (seen.logdir, seen.run) if name), settled=True)


def read(run_id: int, root: str, paths: tuple[bytes, ...], lease: Lease) -> None:
    """Read the sidecars that changed since they were last read; their word goes to the run."""
    return None
