"""Whose a log is, once it is known which directories are runs (layout.py).

- A job log belongs to the run that its start record names, else to the run around it, else
  it is a run.
- A text log (train.log, nohup.out, a job's stdout.log) belongs to the run of the job that it is named
  after, else to the run around it; by itself it is a run where its head shows a training's progress.
"""

from __future__ import annotations

from typing import Final

from runs.readers import naming
from runs.readers.claims import Claim, totals_of
from runs.readers.found import JSONL, PRINTED, TEXT, TRAINING, FoundLog
from runs.readers.mentions import RunsByName
from runs.readers.peeks import Peeks
from runs.readers.tree import Directory, File, Tree, join

_JOB_LOG: Final = "job log"


class LogOwners:
    """Gives the logs of a tree to the ``claims`` on its directories, and adds those of logs that are runs by themselves."""

    def __init__(
        self, tree: Tree, directories: dict[bytes, Directory], owners: dict[bytes, Claim],
        claims: dict[bytes, Claim], peeks: Peeks,
    ) -> None:
        self.root = tree.root
        self.directories = directories
        self.owners = owners
        self.claims = claims
        self.peeks = peeks

    def job_logs(self) -> None:
        """Give each job log to the run that it names, that is around it, or that it is."""
        runs = RunsByName(self.root, self.claims.values())
        for directory in self.directories.values():
            around = self.owners.get(directory.path)
            for file in directory.files:
                if not naming.may_be_job_log(file.name):
                    continue
                path = join(directory.path, file.name)
                peeked = self.peeks.at(path, file)
                if peeked.dialect is None:
                    continue
                claim = around if file.name == naming.PUSHED else runs.first(peeked.named) or around
                if claim is None:
                    claim = Claim(path, _JOB_LOG, None, totals=totals_of(file))
                    self.claims[path] = claim
                claim.logs.append(FoundLog(path, JSONL, file, "", peeked.dialect))

    def text_logs(self) -> None:
        """Give each text log to the run of the job that it is named after, or that is around it.

        By itself one is a run only where its head shows the progress of a training.
        """
        jobs = {_stem(log.path): claim for claim in self.claims.values() for log in claim.logs if log.kind == JSONL}
        alone: list[tuple[bytes, bytes, File]] = []
        for directory in self.directories.values():
            if not any(naming.may_be_text_log(file.name) for file in directory.files) or not naming.logs_lie_in(directory.path):
                continue
            around = self.owners.get(directory.path)
            for file in directory.files:
                if not naming.may_be_text_log(file.name):
                    continue
                path, job = join(directory.path, file.name), naming.names_job(file.name)
                claim = jobs.get(job) if job else None
                if claim is None and around is None:
                    alone.append((path, job, file))
                elif self.peeks.at(path, file).dialect is not None:
                    owner = claim or around or self.claims[path]
                    owner.logs.append(FoundLog(path, TEXT, file, _prefix(owner, path), PRINTED))
        self._alone(alone)

    def _alone(self, logs: list[tuple[bytes, bytes, File]]) -> None:
        """Text logs outside of every run: those of a training, and what else its job printed."""
        jobs: dict[tuple[bytes, bytes], Claim] = {}
        trainings = [log for log in logs if self.peeks.at(log[0], log[2]).dialect == TRAINING]
        for path, job, file in trainings:
            key = (naming.parent_of(path), job or path)
            claim = jobs.get(key)
            if claim is None:
                claim = jobs[key] = self.claims[path] = Claim(path, _JOB_LOG, None, totals=totals_of(file))
            claim.logs.append(FoundLog(path, TEXT, file, "", TRAINING))
        taken = {path for path, _, _ in trainings}
        for path, job, file in logs:
            claim = jobs.get((naming.parent_of(path), job)) if job and path not in taken else None
            if claim is not None and self.peeks.at(path, file).dialect is not None:
                claim.logs.append(FoundLog(path, TEXT, file, "log/", PRINTED))


def _prefix(claim: Claim, path: bytes) -> str:
    """What goes before the tags of a text log in a run: the folder too, where each node has its own."""
    folder = naming.parent_of(path)
    if claim.top is None or folder == claim.path:
        return "log/"
    return f"log/{naming.display(folder.rpartition(b'/')[2])}/"


def _stem(path: bytes) -> bytes:
    return path.rpartition(b"/")[2].removesuffix(naming.JOB_LOG_SUFFIX)
