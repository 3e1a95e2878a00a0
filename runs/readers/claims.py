"""A claim: the directories that belong to one run, and what they add up to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from runs.readers import naming
from runs.readers.found import EVENTS, FoundLog, FoundRun, Part
from runs.readers.problems import Problem
from runs.readers.tree import Directory, File, Totals, join

EMPTY: Final = "empty directory"
COPYING: Final = "copy in progress"


@dataclass(slots=True)
class Claim:
    """A run in the making.  ``top`` is None for a run that is only a job log."""

    path: bytes
    shape: str
    top: Directory | None
    inside: Claim | None = None
    undecided: bool = False
    totals: Totals = field(default_factory=Totals)
    event_files: int = 0
    parts: list[Part] = field(default_factory=list)
    logs: list[FoundLog] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    nested: list[bytes] = field(default_factory=list)

    def relative(self, path: bytes) -> bytes:
        """A path below the run's directory, relative to it."""
        return path[len(self.path) + 1 :] if self.path else path

    def run(self) -> Claim:
        """This run, or the run around it while this is undecided."""
        claim = self
        while claim.undecided and claim.inside is not None:
            claim = claim.inside
        return claim

    def take(self, directory: Directory, events: Sequence[File], prefix: str) -> None:
        """A directory of this run: its event files, bytes and problems are the run's."""
        self._count(directory)
        if self.undecided:
            self.run()._count(directory)
        self.problems.extend(directory.problems)
        for file in events:
            self.logs.append(FoundLog(join(directory.path, file.name), EVENTS, file, prefix))
        if len(events) == len(directory.files):
            return
        for file in directory.files:
            if naming.is_copying(directory.path, file.name):
                path = join(directory.path, file.name)
                self.problems.append(Problem(path, COPYING, "read once it has its own name"))

    def _count(self, directory: Directory) -> None:
        self.totals = self.totals.plus(directory.own)
        self.event_files += sum(naming.matches_cleanup_glob(f.name) for f in directory.files)

    def found(self, *, layout: str, root: bytes, sidecars: tuple[bytes, ...]) -> FoundRun:
        """The run that this comes to."""
        if self.top is None:
            dataset, name, rule = naming.job_name(self.path, layout=layout)
        else:
            dataset, name, rule = naming.run_name(self.path, layout=layout, root=root)
        return FoundRun(
            path=self.path,
            name=name,
            dataset=dataset,
            log_files=tuple(sorted(self.logs)),
            sidecars=sidecars,
            file_count=self.totals.files,
            size=self.totals.size,
            allocated=self.totals.allocated,
            event_files=self.event_files,
            newest_mtime_ns=self.totals.newest_mtime_ns,
            problems=tuple(self.problems),
            shape=self.shape,
            rule=rule,
            parts=tuple(self.parts),
            inside=None if self.inside is None else self.inside.run().path,
            nested=tuple(self.nested),
        )


def event_files(directory: Directory) -> list[File]:
    """The files of a directory that hold events and are whole."""
    return [file for file in directory.files if naming.is_event_file(directory.path, file.name)]


def totals_of(file: File) -> Totals:
    """The totals of a run that is one file."""
    return Totals(1, file.size, file.allocated, file.mtime_ns)


def sidecars_in(directory: Directory, wanted: Collection[bytes]) -> tuple[bytes, ...]:
    """Sidecars right in a directory, and the trainer state of its newest checkpoint."""
    paths = [join(directory.path, f.name) for f in directory.files if f.name in wanted]
    checkpoints = [
        (step, child)
        for child in directory.subdirs
        if (step := naming.checkpoint_step(child.name)) is not None
        and any(file.name == naming.TRAINER_STATE for file in child.files)
    ]
    if checkpoints and naming.TRAINER_STATE in wanted:
        newest = max(checkpoints, key=lambda pair: pair[0])[1]
        paths.append(join(newest.path, naming.TRAINER_STATE))
    return tuple(paths)
