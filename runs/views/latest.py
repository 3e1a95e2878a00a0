"""The latest of some runs, as home and the page of a trainer list them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import F
from django.db.models.functions import Left

from runs.query.rows import UNSHOWN

if TYPE_CHECKING:
    from runs.models import Run
    from runs.models.run import RunQuerySet

ROWS = 10
#: Of an error, as much as a line of the list holds.
WHY = 200


def latest(runs: RunQuerySet) -> list[Run]:
    """The runs that said something last, each with the beginning of its error as ``why``.

    With their pulse, from which the time left is reckoned.
    """
    return list(listed(runs).order_by(F("last_event").desc(nulls_last=True), "-id")[:ROWS])


def listed(runs: RunQuerySet) -> RunQuerySet:
    """Runs with what their rows show."""
    unshown = [name for name in UNSHOWN if name != "pulse"]
    return runs.select_related("source__trainer", "dataset").defer(*unshown, "error").annotate(why=Left("error", WHY))
