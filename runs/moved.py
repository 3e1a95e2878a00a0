"""Runs that changed their path: a vanished run whose files are found elsewhere in its source.

A file is the same where its path is (the run around it was judged differently), or where
its first bytes and those before the offset have the hashes of what was read.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from django.db.models import ProtectedError

from runs import identity, masks
from runs.models import LogFile, Run, Series, Source
from runs.readers import confined, naming
from runs.readers.found import FoundLog, FoundRun
from runs.readers.plain import plain
from runs.rows import sum_damage
from runs.series import forget_file, recount

if TYPE_CHECKING:
    from runs.register import KnownFile, KnownRun

Pairs = list[tuple[LogFile, FoundLog]]


@dataclass(slots=True)
class Moves:
    """What moved: ``by_path`` new path -> the run, ``renamed`` old file path -> new file path.

    ``aside`` are files that are no more, whose path another file of their run has now.
    """

    by_path: dict[bytes, KnownRun] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    renamed: dict[bytes, bytes] = field(default_factory=dict)
    files: dict[int, bytes] = field(default_factory=dict)
    aside: dict[int, bytes] = field(default_factory=dict)

    @property
    def left(self) -> set[bytes]:
        """The paths that these runs had."""
        return {run.path for run in self.by_path.values()}

    def carry_out(self) -> None:
        """Give the rows their new paths, and their new names where nobody had renamed them."""
        # two runs may change places: first off to paths that no file system has
        for run in self.by_path.values():
            Run.objects.filter(pk=run.id).update(path=b"\0%d" % run.id)
        for file_id in (*self.files, *self.aside):
            LogFile.objects.filter(pk=file_id).update(path=b"\0%d" % file_id)
        for path, run in self.by_path.items():
            Run.objects.filter(pk=run.id).update(path=path, files_missing=False)
            if run.id in self.names:
                Run.objects.filter(pk=run.id).update(name=self.names[run.id])
        for file_id, path in self.files.items():
            LogFile.objects.filter(pk=file_id).update(path=path, missing=False)
        for file_id, path in self.aside.items():
            LogFile.objects.filter(pk=file_id).update(path=path)

    def add(self, source: Source, run: KnownRun, one: FoundRun, pairs: Pairs) -> None:
        """A run and its files were found at another place."""
        self.by_path[one.path] = run
        if run.name in _names_by_path(source, run.path):
            self.names[run.id] = masks.label(one.name)
        for file, log in pairs:
            self.files[file.pk] = log.path
            self.renamed[bytes(file.path)] = log.path

    def add_renamed(self, source: Source, lost: dict[int, list[FoundLog]]) -> None:
        """Files that got another name within their run; ``lost``: which are gone, and the names new in its run."""
        for file in LogFile.objects.filter(pk__in=lost, offset__gte=identity.HEAD).order_by("path"):
            taken = set(self.files.values())
            match = next((log for log in lost[file.pk] if log.path not in taken and plain(log.prefix) == file.prefix
                          and _is_same(source, file, log)), None)
            if match is not None:
                self.files[file.pk] = self.renamed[bytes(file.path)] = match.path

    def make_way(self) -> None:
        """A file that is no more gives its path to the one that has it now, for one that was left."""
        if not self.files:
            return
        run_ids = LogFile.objects.filter(pk__in=self.files).values("run_id")
        rows = LogFile.objects.filter(run_id__in=run_ids).order_by("path").values_list("pk", "run_id", "path")
        held: dict[int, dict[int, bytes]] = defaultdict(dict)
        for pk, run_id, path in rows:
            held[run_id][pk] = bytes(path)
        for paths in held.values():
            moving = {pk: self.files[pk] for pk in paths if pk in self.files}
            taken = set(moving.values())
            free = sorted({paths[pk] for pk in moving} - taken)
            for pk in paths.keys() - moving.keys():
                if paths[pk] in taken:
                    self.aside[pk] = self.renamed[paths[pk]] = free.pop()


def find_moves(
    source: Source, gone: list[KnownRun], displaced: list[KnownRun], places: list[FoundRun], report: Callable[[], None]
) -> Moves:
    """Match runs with the places where all of their read files are now.

    ``gone`` are runs whose path is no more, ``displaced`` those whose path holds other files
    (two runs may have changed places); ``places`` are the new paths and those of the displaced.
    """
    moves = Moves()
    if not places or not (gone or displaced):
        return moves
    free = _Places(source, places, report)
    held = _held([*gone, *displaced])
    matched: dict[bytes, tuple[KnownRun, FoundRun, Pairs]] = {}
    for run in [*gone, *displaced]:
        for one in free.candidates(held.get(run.id, [])):
            pairs = _pairs(source, held[run.id], one.log_files) if one.path not in matched else None
            if pairs is not None:
                matched[one.path] = (run, one, pairs)
                break
    _leave_occupied(matched, {run.path: run.id for run in displaced})
    for match in matched.values():
        moves.add(source, *match)
    return moves


def take_away(files: Iterable[KnownFile], vanished: set[int]) -> None:
    """Take files from the runs that they were counted with: a later scan judged them otherwise.

    Their points are read again where they belong now.  A run that has ``vanished`` and is left
    without files goes.
    """
    for file in files:
        forget_file(file.id, file.run_id)
        LogFile.objects.filter(pk=file.id).delete()
    for run_id in {file.run_id for file in files}:
        if run_id in vanished and not LogFile.objects.filter(run_id=run_id).exists() and _deleted(run_id):
            continue
        points = recount(run_id)
        Series.objects.filter(run_id=run_id, count=0, chunks=None, tails=None).delete()
        Run.objects.filter(pk=run_id).update(point_count=points)
        sum_damage([run_id])


def _deleted(run_id: int) -> bool:
    """Delete the row of a run of which nothing is left; False where a cleanup has it in its journal: it stays."""
    try:
        Run.objects.filter(pk=run_id).delete()
    except ProtectedError:
        return False
    return True


class _Places:
    """Where runs were found, by what could tell whose they are."""

    def __init__(self, source: Source, found: list[FoundRun], report: Callable[[], None]) -> None:
        self.source, self.found, self.report = source, [one for one in found if one.log_files], report
        self.by_path = {log.path: one for one in self.found for log in one.log_files}

    @cached_property
    def by_head(self) -> dict[bytes, list[FoundRun]]:
        """By the hash of the first bytes: one look at each file, however many runs have moved."""
        heads: dict[bytes, list[FoundRun]] = defaultdict(list)
        for path, one in self.by_path.items():
            self.report()
            if (head := _head(self.source, path)) is not None:
                heads[head].append(one)
        return heads

    @cached_property
    def by_name(self) -> dict[bytes, list[FoundRun]]:
        names: dict[bytes, list[FoundRun]] = defaultdict(list)
        for path, one in self.by_path.items():
            names[_name(path)].append(one)
        return names

    def candidates(self, held: list[LogFile]) -> Iterator[FoundRun]:
        """Where these files of a run may be."""
        if not held:
            return
        file = max(held, key=lambda one: one.offset)
        if bytes(file.path) in self.by_path:
            yield self.by_path[bytes(file.path)]
        if file.offset >= identity.HEAD:
            yield from self.by_head.get(bytes(file.head_hash), [])
        else:
            yield from self.by_name.get(_name(bytes(file.path)), [])


def _held(runs: list[KnownRun]) -> dict[int, list[LogFile]]:
    """The read files of each run that were there when it was last seen."""
    held: dict[int, list[LogFile]] = defaultdict(list)
    gone_before: dict[int, list[LogFile]] = defaultdict(list)
    for file in LogFile.objects.filter(run__in=[run.id for run in runs], offset__gt=0).order_by("path"):
        (gone_before if file.missing else held)[file.run_id].append(file)
    return {**gone_before, **held}


def _leave_occupied(matched: dict[bytes, tuple[KnownRun, FoundRun, Pairs]], occupants: dict[bytes, int]) -> None:
    """Nobody moves to the path of a run that stays there."""
    while True:
        moving = {run.id for run, _, _ in matched.values()}
        stuck = [path for path in matched if path in occupants and occupants[path] not in moving]
        if not stuck:
            return
        for path in stuck:
            del matched[path]


def _pairs(source: Source, held: list[LogFile], logs: tuple[FoundLog, ...]) -> Pairs | None:
    """Each read file with its new place; None unless all of them are there."""
    pairs = []
    free = list(logs)
    for file in held:
        # the same name first: files of one run often begin alike
        name = _name(bytes(file.path))
        match = next((log for log in sorted(free, key=lambda log: log.stat.name != name)
                      if _is_same(source, file, log)), None)
        if match is None:
            return None
        free.remove(match)
        pairs.append((file, match))
    return pairs


def _is_same(source: Source, file: LogFile, log: FoundLog) -> bool:
    if log.stat.size < file.offset or log.kind != file.kind:
        return False
    if bytes(file.path) == log.path:
        return True
    try:
        with confined.opened(source.root, log.path) as fd:
            return identity.continues(fd, identity.of(fd), file)
    except OSError:
        return False


def _head(source: Source, path: bytes) -> bytes | None:
    try:
        with confined.opened(source.root, path) as fd:
            return hashlib.sha256(os.pread(fd, identity.HEAD, 0)).digest()
    except OSError:
        return None


def _names_by_path(source: Source, path: bytes) -> set[str]:
    """What a run at this path is called where nobody gave it another name."""
    root = os.fsencode(source.root)
    return {masks.label(naming.run_name(path, layout=source.layout, root=root)[1]),
            masks.label(naming.job_name(path, layout=source.layout)[1])}


def _name(path: bytes) -> bytes:
    return path.rpartition(b"/")[2]
