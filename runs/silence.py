"""Runs whose status changes by time alone: nothing more has come of them."""

from __future__ import annotations

import time
from collections.abc import Collection

from django.db.models import Q

from runs.commit import Batch, commit
from runs.facts import has_aged, moment
from runs.ingest import RUNS_TOGETHER
from runs.lease import Lease
from runs.models import Run
from runs.models.run import Status
from runs.status import LEAST_BUDGET


def silent(sources: Collection[int]) -> dict[int, list[int]]:
    """The runs of these sources that would be judged otherwise now than they stand, by source."""
    now = time.time()
    due = (Q(status=Status.RUNNING, last_arrival__lt=moment(now - LEAST_BUDGET)) | Q(stalled=True)
           | Q(status=Status.RUNNING, pulse__stepped__lt=now - LEAST_BUDGET))
    waiting = Run.objects.filter(due | Q(status_reason=""), source__in=sources).order_by().only(
        "source", "status", "stalled", "status_reason", "said", "pulse", "step", "stage", "last_arrival", "last_event",
        "point_count")
    found: dict[int, list[int]] = {}
    for run in waiting:
        if has_aged(run, now):
            found.setdefault(run.source_id, []).append(run.pk)
    return found


def settle_silent(source_id: int, lease: Lease) -> None:
    """Judge the silent runs of a source anew."""
    runs = silent([source_id]).get(source_id, [])
    for at in range(0, len(runs), RUNS_TOGETHER):
        commit(Batch(done=runs[at : at + RUNS_TOGETHER]), lease)
