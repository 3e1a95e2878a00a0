"""Looking at the folders of runs for a page or a script: a volume that hangs costs a few seconds, never the site."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from retention import files, plan
from retention.candidates import Candidate
from runs import disk


class Patient:
    """``plan.look``, given up on a volume that does not answer; its other runs are then not even tried."""

    def __init__(self) -> None:
        self.silent: set[str] = set()

    def __call__(self, candidate: Candidate, at: datetime) -> plan.Seen:
        """What lies in the run's folder; Refused where it must stay."""
        if candidate.root not in self.silent:
            try:
                return disk.ask(partial(plan.look, candidate, at))
            except disk.Silent:
                self.silent.add(candidate.root)
        raise files.Refused("lies on a volume that does not answer now")
