"""Which directories are runs, and which are parts of one; whose a log is, logowners.py says.

The rules, judged for each directory from the root down:

- A directory with event files is a run, unless it is a part of the run above it.
- A directory without event files is a run where Keras would have written it: ``train`` beside
  ``validation``, or nothing below it with event files but such parts.  Below the root itself
  one such directory alone is a run of its own: more is likely to come beside it.  A ``train``
  that holds a configuration of its own (Ultralytics) is a run, not a part.
- A part is a sub-directory named as in ``PARTS``, or what add_scalars and add_hparams made
  (writers.py: that takes a look into the file).  As long as such a directory holds no
  record, it is undecided.
- Any other directory with event files inside a run is a run of its own.
- An empty directory beside runs is a run without files.

A run of Falcon is told by config.yml and the nodes' logs below graph/.  A further kind of run that is told
by something else than event files becomes a line in ``_Judge.shape_of``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from runs.readers import naming, writers
from runs.readers.claims import EMPTY, Claim, event_files, sidecars_in
from runs.readers.found import HPARAMS, NAMED, SCALARS, Found, FoundRun, Part, Peek, Verdicts
from runs.readers.logowners import LogOwners
from runs.readers.peeks import Peeks
from runs.readers.problems import Problem
from runs.readers.tree import Directory, File, Tree, join

#: Sub-directories that Estimator, Keras and evaluation writers make inside a run.
PARTS: Final = frozenset({b"train", b"validation", b"val", b"test", b"eval", b"eval_examples"})

#: The tags of these parts say whose they are already ("eval_examples/example_0").
_TAGS_SAY_SO: Final = frozenset({b"eval_examples"})

#: Empty directories of these names beside runs are no runs.
_NEVER_RUNS: Final = frozenset({b"lost+found", b"checkpoints", b"artifacts", b"samples", b"logs", b"wandb", b"plugins"})

#: Event files of one directory that are looked into for a first tag.
_LOOKS: Final = 32

_KERAS: Final = "keras"
_FALCON: Final = "falcon"
_EVENT_FILES: Final = "event files"
_UNDECIDED: Final = "undecided"


def find_runs(
    tree: Tree,
    *,
    layout: str = naming.AUTO,
    peek: Peek,
    known: Verdicts | None = None,
    sidecars: tuple[bytes, ...] = naming.SIDECARS,
    stale_before_ns: int | None = None,
) -> Found:
    """The runs of a tree.

    ``peek`` is asked only where a name does not decide, and not for a file that ``known``
    (``Found.verdicts`` of an earlier call) still holds for.  An undecided directory whose
    newest event file is older than ``stale_before_ns`` is taken for a run.
    """
    if layout not in naming.LAYOUTS:
        raise ValueError(f"no such layout: {layout!r}")
    peeks = Peeks(peek, known or {})
    judge = _Judge(tree, peeks, sidecars, stale_before_ns)
    judge.visit(tree.top, None)
    judge.empty_directories()
    logs = LogOwners(tree, judge.directories, judge.owners, judge.claims, peeks)
    logs.job_logs()
    logs.text_logs()

    def found(claim: Claim) -> FoundRun:
        return claim.found(layout=layout, root=tree.root, sidecars=judge.sidecars_of(claim))

    claims = sorted(judge.claims.values(), key=lambda claim: claim.path)
    return Found(
        tuple(found(claim) for claim in claims if not claim.undecided),
        tuple(found(claim) for claim in claims if claim.undecided),
        peeks.verdicts,
        judge.problems_elsewhere(),
    )


class _Place(NamedTuple):
    """Where a directory lies inside a run.

    ``direct`` if its parent is the run's directory or a part of it; ``logdirs`` are the
    directories with event files above it, each with the claim that it belongs to.
    """

    claim: Claim
    prefix: str
    direct: bool
    logdirs: tuple[tuple[bytes, Claim], ...]


class _Judge:
    """Goes down a tree and says of each directory whose it is."""

    def __init__(self, tree: Tree, peeks: Peeks, sidecars: tuple[bytes, ...], stale: int | None) -> None:
        self.tree = tree
        self.peeks = peeks
        self.sidecars = sidecars
        self.stale = stale
        self.directories = {directory.path: directory for directory in tree.top.walk()}
        self.events = _event_files(self.directories.values())
        self.holding = _with_parents(self.events)
        self.claims: dict[bytes, Claim] = {}
        self.owners: dict[bytes, Claim] = {}
        self.newest: dict[bytes, Claim] = {}

    def visit(self, directory: Directory, place: _Place | None) -> None:
        """Say whose ``directory`` is, and go on below it."""
        place = self._begin(directory, place) if place is None else self._inside(directory, place)
        if place is not None:
            self.owners[directory.path] = place.claim
            place.claim.take(directory, self.events.get(directory.path, ()), place.prefix)
            if directory.path in self.events:
                logdirs = (*place.logdirs, (directory.path, place.claim))
                place = place._replace(logdirs=logdirs)
        for child in directory.subdirs:
            self.visit(child, place)

    def shape_of(self, directory: Directory) -> str:
        """Why a directory is a run, whatever lies above it; "" if it is none."""
        if directory.path in self.events:
            return _EVENT_FILES
        if self._keras_parts(directory):
            return _KERAS
        return _FALCON if self._is_falcons(directory) else ""

    @staticmethod
    def _is_falcons(directory: Directory) -> bool:
        """Whether it is a run of Falcon: its configuration, and a log of each node below ``graph``."""
        if not any(file.name == b"config.yml" for file in directory.files):
            return False
        nodes = (node for child in directory.subdirs if child.name == b"graph" for node in child.subdirs)
        return any(file.name == b"output.log" for node in nodes for file in node.files)

    def _begin(self, directory: Directory, place: _Place | None) -> _Place | None:
        """A directory outside every run, or one that is no part of the run around it."""
        shape = self.shape_of(directory)
        if not shape:
            return place
        inside = place.claim if place else None
        return _Place(self._claim(directory, shape, inside), "", True, ())

    def _inside(self, directory: Directory, place: _Place) -> _Place | None:
        """A directory below a run's: content, a part, undecided, or a run of its own."""
        if directory.path not in self.events:
            place = place._replace(direct=False)
            if self._split_by_add_scalars(directory, place):
                return place
            return self._begin(directory, place)
        if place.direct and directory.name in PARTS:
            return self._part(directory, place, place.claim, NAMED)
        kind, claim = self._companion(directory, place.logdirs)
        if kind == _UNDECIDED:
            undecided = self._claim(directory, _EVENT_FILES, place.claim, undecided=True)
            return _Place(undecided, "", True, place.logdirs)
        if kind and claim:
            return self._part(directory, place, claim, kind)
        return self._begin(directory, place)

    def _claim(self, directory: Directory, shape: str, inside: Claim | None, *, undecided: bool = False) -> Claim:
        claim = Claim(directory.path, shape, directory, inside, undecided)
        self.claims[directory.path] = claim
        if inside is not None and not undecided:
            inside.run().nested.append(directory.path)
        return claim

    def _part(self, directory: Directory, place: _Place, claim: Claim, kind: str) -> _Place:
        subdir = claim.relative(directory.path)
        silent = kind == HPARAMS or directory.name in _TAGS_SAY_SO
        prefix = "" if silent else naming.display(subdir) + "/"
        claim.parts.append(Part(subdir, prefix, kind))
        return _Place(claim, prefix, True, place.logdirs)

    def _keras_parts(self, directory: Directory) -> list[Directory]:
        """The parts that make a directory without event files a run."""
        if directory.path not in self.holding:
            return []
        holding = [child for child in directory.subdirs if child.path in self.holding]
        parts = [child for child in holding if self._is_bare_part(child)]
        names = {child.name for child in parts}
        if b"train" in names and names & {b"validation", b"val"}:
            return parts
        if len(parts) < len(holding) or (not directory.path and len(parts) < 2):
            return []
        return parts

    def _is_bare_part(self, directory: Directory) -> bool:
        return (
            directory.name in PARTS
            and directory.path in self.events
            and not any(file.name in self.sidecars for file in directory.files)
        )

    def _split_by_add_scalars(self, directory: Directory, place: _Place) -> bool:
        """Whether ``loss/train`` and ``loss/val`` are tensorboardX's add_scalars, not Keras."""
        if not place.logdirs:
            return False
        return any(self._companion(part, place.logdirs)[0] for part in self._keras_parts(directory))

    def _companion(self, directory: Directory, logdirs: tuple[tuple[bytes, Claim], ...]) -> tuple[str, Claim | None]:
        """Whether a writer of one of ``logdirs`` made this directory, and whose that is."""
        if not logdirs:
            return "", None
        tags = self._first_tags(directory)
        nearest = logdirs[-1][1]
        if writers.is_hparams_child(directory.name, tags):
            return HPARAMS, nearest
        for path, claim in reversed(logdirs):
            relative = directory.path[len(path) + 1 :] if path else directory.path
            if writers.is_scalars_child(relative, tags):
                return SCALARS, claim
        if tags:
            return "", None
        if writers.is_time_name(directory.name):
            return HPARAMS, nearest
        newest = max(file.mtime_ns for file in self.events[directory.path])
        if self.stale is not None and newest < self.stale:
            return "", None
        return _UNDECIDED, None

    def _first_tags(self, directory: Directory) -> tuple[str, ...]:
        for file in self.events[directory.path][:_LOOKS]:
            tags = self.peeks.at(join(directory.path, file.name), file).tags
            if tags:
                return tags
        return ()

    def empty_directories(self) -> None:
        """Empty directories beside runs: somebody's run that holds nothing (any more)."""
        parents = {naming.parent_of(path) for path, c in self.claims.items() if path and not c.undecided}
        for parent in parents:
            if parent in self.owners:
                continue
            for child in self.directories[parent].subdirs:
                if child.entries or child.name in _NEVER_RUNS or not self.tree.saw(child.path):
                    continue
                claim = Claim(child.path, "empty", child)
                claim.problems.append(Problem(child.path, EMPTY, "its age is unknown"))
                self.claims[child.path] = self.owners[child.path] = claim

    def sidecars_of(self, claim: Claim) -> tuple[bytes, ...]:
        """A run's sidecars; Hugging Face keeps them beside ``runs``, for its newest run."""
        if claim.top is None:
            return ()
        paths = sidecars_in(claim.top, self.sidecars)
        above = naming.parent_of(claim.path)
        output = naming.parent_of(above)
        if above.rpartition(b"/")[2] != b"runs" or above in self.owners or output in self.owners:
            return paths
        if claim is self._last_written(above):
            paths += sidecars_in(self.directories[output], self.sidecars)
        return paths

    def _last_written(self, folder: bytes) -> Claim:
        """The run of a folder that was written to last."""
        if folder not in self.newest:
            runs = (self.claims.get(child.path) for child in self.directories[folder].subdirs)
            self.newest[folder] = max((run for run in runs if run), key=_age_order)
        return self.newest[folder]

    def problems_elsewhere(self) -> tuple[Problem, ...]:
        return tuple(
            problem
            for path, directory in self.directories.items()
            if path not in self.owners
            for problem in directory.problems
        )


def _event_files(directories: Iterable[Directory]) -> dict[bytes, list[File]]:
    found = {directory.path: event_files(directory) for directory in directories}
    return {path: files for path, files in found.items() if files}


def _with_parents(paths: Iterable[bytes]) -> set[bytes]:
    """These directories and all above them."""
    found: set[bytes] = set()
    for path in paths:
        while path and path not in found:
            found.add(path)
            path = naming.parent_of(path)
        found.add(path)
    return found


def _age_order(claim: Claim) -> tuple[int, bytes]:
    return (claim.totals.newest_mtime_ns or 0, claim.path)
