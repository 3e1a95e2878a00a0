"""How far a cleanup is, on the plan's own row, for whoever looks at its page."""

from __future__ import annotations

import time
from typing import Any

from retention.models import Plan, PlannedRun
from retention.work import Progress, Step
from runs.readers.plain import plain_json

#: Seconds between two words.
PAUSE = 0.5


class Meter:
    """Counts what is archived and moved, and writes it down twice a second at most.

    ``done`` of ``total`` are bytes: an archive is written and read again, then the run is moved.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.archived, self.moved = 2 if plan.archive else 0, 0 if plan.keeps else 1
        rows = plan.runs.exclude(step__in=[Step.SKIPPED, Step.FAILED]).values_list("step", "size")
        self.total = sum(size for _, size in rows) * (self.archived + self.moved)
        self.done = sum(self._behind(step) * size for step, size in rows)
        self.told = 0.0
        self.last = Progress("", "beginning")

    def _behind(self, step: str) -> int:
        """How often the bytes of a run that is so far were counted before we were killed."""
        if step in PlannedRun.SETTLED:
            return self.archived + self.moved
        return self.archived if step in (Step.ARCHIVED, Step.BURYING) else 0

    def __enter__(self) -> Meter:
        self._tell()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            self._write({})
        elif isinstance(error, Exception):
            self._write(self._said() | {"step": f"stopped: {error}"[:500]})

    def add(self, said: Progress) -> None:
        """What is being done, and bytes more of it."""
        self.last, self.done = said, self.done + said.bytes
        if time.monotonic() - self.told >= PAUSE:
            self._tell()

    def _tell(self) -> None:
        self.told = time.monotonic()
        self._write(self._said())

    def _said(self) -> dict[str, Any]:
        return {"run": self.last.run, "step": self.last.step, "done": min(self.done, self.total), "total": self.total}

    def _write(self, said: dict[str, Any]) -> None:
        Plan.objects.filter(pk=self.plan.pk).update(progress=plain_json(said))
