"""Runs that changed their path: a vanished run whose files are found elsewhere in its source.

A file is the same where its path is (the run around it was judged differently), or where
its first bytes and those before the offset have the hashes of what was read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runs import identity
from runs.models import LogFile, Run, Series, Source
from runs.points import forget_file, recount
from runs.readers import confined
from runs.readers.found import FoundLog, FoundRun

if TYPE_CHECKING:
    from runs.register import KnownFile, KnownRun


@dataclass(slots=True)
class Moves:
    """What moved: ``by_path`` new path -> the run, ``renamed`` old file path -> new file path."""

    by_path: dict[bytes, KnownRun] = field(default_factory=dict)
    renamed: dict[bytes, bytes] = field(default_factory=dict)
    files: dict[int, bytes] = field(default_factory=dict)

    def carry_out(self, names: dict[bytes, str]) -> None:
        """Give the rows their new paths, and their new names where nobody had renamed them."""
        for path, run in self.by_path.items():
            Run.objects.filter(pk=run.id).update(path=path, files_missing=False)
            if run.path.endswith(run.name.encode(errors="ignore")):
                Run.objects.filter(pk=run.id).update(name=names[path])
        for file_id, path in self.files.items():
            LogFile.objects.filter(pk=file_id).update(path=path, missing=False)


def find_moves(
    source: Source, gone: list[KnownRun], unknown: list[FoundRun], files: dict[int, dict[bytes, KnownFile]]
) -> Moves:
    """Match vanished runs with runs found for the first time, by all of their read files."""
    moves = Moves()
    if not gone or not unknown:
        return moves
    waiting = {one.path: one for one in unknown if one.log_files}
    for run in gone:
        held = list(LogFile.objects.filter(pk__in=[f.id for f in files.get(run.id, {}).values()], offset__gt=0))
        if not held:
            continue
        for path, one in waiting.items():
            pairs = _pairs(source, held, one.log_files)
            if pairs is not None:
                moves.by_path[path] = run
                for file, log in pairs:
                    moves.files[file.pk] = log.path
                    moves.renamed[bytes(file.path)] = log.path
                del waiting[path]
                break
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
        if run_id in vanished and not LogFile.objects.filter(run_id=run_id).exists():
            Run.objects.filter(pk=run_id).delete()
            continue
        points = recount(run_id)
        Series.objects.filter(run_id=run_id, count=0, chunks=None, tails=None).delete()
        Run.objects.filter(pk=run_id).update(point_count=points)


def _pairs(source: Source, held: list[LogFile], logs: tuple[FoundLog, ...]) -> list[tuple[LogFile, FoundLog]] | None:
    """Each read file with its new place; None unless all of them are there."""
    pairs = []
    free = list(logs)
    for file in held:
        # the same name first: files of one run often begin alike
        name = bytes(file.path).rpartition(b"/")[2]
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
