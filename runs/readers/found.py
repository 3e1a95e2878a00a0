"""What a tree's layout comes to: runs, their parts and logs, as values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from runs.readers.problems import Problem
from runs.readers.tree import File

EVENTS: Final = "events"
JSONL: Final = "jsonl"
TEXT: Final = "text"

#: What a peek says of a text log: whether its head shows the progress of a training.
PRINTED: Final = "text"
TRAINING: Final = "training"

#: Kinds of a part: what made a directory belong to the run above it.
NAMED: Final = "named"
SCALARS: Final = "add_scalars"
HPARAMS: Final = "add_hparams"


@dataclass(frozen=True, slots=True)
class Peeked:
    """What the first records of one file say.

    Of an event file: ``tags``, the distinct tags of its first summaries in order (empty
    while there is none).  Of a .jsonl file: ``dialect``, None where it is no job log, and
    ``named``, the runs or log directories that its start record names, best first; of a text log
    PRINTED or TRAINING.
    ``settled`` says that growth of the file will not change this.
    """

    tags: tuple[str, ...] = ()
    dialect: str | None = None
    named: tuple[str, ...] = ()
    settled: bool = False


#: Reads the first records of a file below the root; None where it cannot be read.
Peek = Callable[[bytes], Peeked | None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A peek and the file that it was of: a later scan need not look again."""

    ino: int
    size: int
    mtime_ns: int
    peeked: Peeked

    def holds_for(self, file: File) -> bool:
        """Whether the file is the one that was peeked at, or has only grown since."""
        if file.ino != self.ino:
            return False
        if (file.size, file.mtime_ns) == (self.size, self.mtime_ns):
            return True
        return self.peeked.settled and file.size >= self.size


Verdicts = Mapping[bytes, Verdict]


class FoundLog(NamedTuple):
    """A file that is read.  ``prefix`` goes before its tags; ``dialect`` is that of a job log."""

    path: bytes
    kind: str
    stat: File
    prefix: str = ""
    dialect: str = ""


class Part(NamedTuple):
    """A directory of a run that is no run: ``subdir`` is relative to the run's directory."""

    subdir: bytes
    prefix: str
    kind: str


@dataclass(frozen=True, slots=True)
class FoundRun:
    """A run as its directory (or its job log) shows it.

    ``path`` is its identity; ``name`` and ``dataset`` are for people.  Sizes and counts are
    of everything below it, less the ``nested`` runs, so that rows can be summed: without
    nested runs they equal ``find``'s.  ``event_files`` counts by cleanup's stricter glob.
    ``shape`` says why it is a run (events, keras, job log, empty), ``rule`` how it got its
    name.  ``inside`` is the path of the run around it.
    """

    path: bytes
    name: str
    dataset: str
    log_files: tuple[FoundLog, ...]
    sidecars: tuple[bytes, ...]
    file_count: int
    size: int
    allocated: int
    event_files: int
    newest_mtime_ns: int | None
    problems: tuple[Problem, ...]
    shape: str
    rule: str
    parts: tuple[Part, ...] = ()
    inside: bytes | None = None
    nested: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """All of a tree.

    ``undecided`` are directories inside a run whose event files hold no record yet: they may
    become a part of it or a run of their own (meanwhile their bytes count with the run).
    ``verdicts`` go into the next call.  ``problems`` are those outside every run.
    """

    runs: tuple[FoundRun, ...]
    undecided: tuple[FoundRun, ...]
    verdicts: dict[bytes, Verdict]
    problems: tuple[Problem, ...]
