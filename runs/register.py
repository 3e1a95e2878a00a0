"""From what a scan found to rows: runs, their files, what moved and what is gone.

``compare`` looks and decides, ``Plan.carry_out`` writes: a dry run stops between them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from django.db import transaction

from runs import masks, redact, signals
from runs.lease import Lease
from runs.models import Dataset, LogFile, Run, Source
from runs.moved import Moves, find_moves, take_away
from runs.readers import naming
from runs.readers.found import Found, FoundLog, FoundRun
from runs.readers.plain import plain
from runs.readers.tree import File, Tree, join

#: events.out.tfevents.{seconds}.{host}.{pid}.{uid}{suffix}, as TensorBoard's writer names them.
WRITER = re.compile(rb"tfevents\.\d{10,}\.(?P<host>.+?)\.(?P<pid>\d{1,10})\.\d+", re.DOTALL)
#: tensorboardX leaves process and number out.
HOST = re.compile(rb"tfevents\.\d{10,}\.(?P<host>.+)", re.DOTALL)
BATCH = 1000
SIDECARS = frozenset(naming.SIDECARS)
T = TypeVar("T")
WARNINGS_KEPT = 20


class KnownFile(NamedTuple):
    """What the registry holds of a log file."""

    id: int
    run_id: int
    path: bytes
    prefix: str
    device: int
    inode: int
    size: int
    mtime_ns: int
    missing: bool

    def belongs_to(self, run_id: int | None, log: FoundLog) -> bool:
        """Whether it is still a file of this run, under the same prefix."""
        return self.run_id == run_id and self.prefix == plain(log.prefix)

    def is_as(self, log: FoundLog) -> bool:
        """Whether the file looks just as when it was read: it need not be opened."""
        stat = log.stat
        return (stat.size, stat.mtime_ns, stat.ino, stat.dev) == (self.size, self.mtime_ns, self.inode, self.device)


class KnownRun(NamedTuple):
    """What the registry holds of a run, as a scan needs it."""

    id: int
    path: bytes
    name: str
    dataset: str | None
    files_missing: bool
    size: int
    file_count: int
    event_file_count: int
    modified: datetime | None
    warnings: list[dict[str, str]]
    sidecars: dict[str, Any]


@dataclass(slots=True)
class Change:
    """A known run whose files or facts differ from its row."""

    known: KnownRun
    found: FoundRun
    files: list[FoundLog]
    new_files: list[FoundLog]
    back_files: list[int]
    gone_files: list[int]
    facts: bool
    new_facts: dict[str, Any]
    sidecars: bool

    @property
    def to_read(self) -> bool:
        """Whether a file or sidecar must be opened."""
        return bool(self.files or self.new_files or self.sidecars)


@dataclass(slots=True)
class Plan:
    """What a scan means for the registry."""

    source: Source
    new: list[FoundRun] = field(default_factory=list)
    changed: list[Change] = field(default_factory=list)
    unchanged: int = 0
    vanished: list[KnownRun] = field(default_factory=list)
    moves: Moves = field(default_factory=Moves)
    rehomed: list[KnownFile] = field(default_factory=list)
    to_read: dict[int, FoundRun] = field(default_factory=dict)

    @property
    def grown(self) -> list[Change]:
        """Known runs with something to read."""
        return [change for change in self.changed if change.to_read]

    def carry_out(self, lease: Lease, report: Callable[[], None]) -> None:
        """Write the plan, in transactions of a thousand runs; ``to_read`` then names the work."""
        datasets = _datasets(self.source, [*self.new, *(change.found for change in self.changed)])
        with transaction.atomic():
            lease.check()
            self.moves.carry_out()
            Run.objects.filter(pk__in=[run.id for run in self.vanished]).update(files_missing=True)
            LogFile.objects.filter(run_id__in=[run.id for run in self.vanished]).update(missing=True)
            take_away(self.rehomed, {run.id for run in self.vanished})
            if self.new or self.vanished or self.moves.by_path:
                signals.tell(sources=[self.source.pk])
        for batch in _batches(self.new):
            report()
            with transaction.atomic():
                lease.check()
                self._create(batch, datasets)
                signals.tell(sources=[self.source.pk])
        for changes in _batches(sorted(self.changed, key=lambda change: change.known.id)):
            report()
            with transaction.atomic():
                lease.check()
                for change in changes:
                    self._change(change, datasets)

    def _create(self, batch: list[FoundRun], datasets: dict[str, Dataset]) -> None:
        runs = Run.objects.bulk_create(
            Run(source=self.source, path=found.path, name=masks.label(found.name), dataset=datasets.get(found.dataset),
                demo=self.source.trainer.demo, gpu_type=self.source.trainer.gpu_type,
                gpu_count=self.source.trainer.gpu_count, **_facts(found), **_writer(found))
            for found in batch
        )
        LogFile.objects.bulk_create(
            (_log_file(self.source, run.pk, log) for run, found in zip(runs, batch, strict=True)
             for log in found.log_files), batch_size=BATCH)
        self.to_read.update((run.pk, found) for run, found in zip(runs, batch, strict=True)
                            if found.log_files or found.sidecars)

    def _change(self, change: Change, datasets: dict[str, Dataset]) -> None:
        known, found = change.known, change.found
        if change.facts:
            Run.objects.filter(pk=known.id).update(
                files_missing=False, dataset=datasets.get(found.dataset), **change.new_facts)
        if change.new_files:
            LogFile.objects.bulk_create(_log_file(self.source, known.id, log) for log in change.new_files)
        if change.gone_files:
            LogFile.objects.filter(pk__in=change.gone_files).update(missing=True)
        if change.back_files:
            LogFile.objects.filter(pk__in=change.back_files).update(missing=False)
        if change.to_read:
            self.to_read[known.id] = found


def compare(
    source: Source, tree: Tree, found: Found, *, full: bool = False, report: Callable[[], None] = lambda: None
) -> Plan:
    """What this scan means: new, changed and unchanged runs, moves, and what has vanished.

    A run that could not be seen (an unreadable folder above it) has not vanished.
    """
    plan = Plan(source)
    beside = {join(d.path, file.name): file for d in tree.top.walk() for file in d.files if file.name in SIDECARS}
    files = _known_files(source)
    runs = _known_runs(source)
    present = {one.path: one for one in found.runs}
    gone = [run for path, run in runs.items() if path not in present and tree.saw(path)]
    displaced = [run for path, run in runs.items()
                 if path in present and _is_displaced(files.get(run.id, {}), present[path], tree)]
    unknown = [one for path, one in present.items() if path not in runs]
    plan.moves = find_moves(source, gone, displaced, [*unknown, *(present[run.path] for run in displaced)], report)
    plan.moves.add_renamed(source, _lost(runs, files, present, tree, {run.id for run in [*gone, *displaced]}))
    plan.moves.make_way()
    moved_to, left, renamed = plan.moves.by_path, plan.moves.left, plan.moves.renamed
    owners = {renamed.get(path, path): file for held in files.values() for path, file in held.items()}
    for path, one in present.items():
        known = moved_to.get(path) or (None if path in left else runs.get(path))
        run_id = known.id if known else None
        plan.rehomed += [
            owner for log in one.log_files
            if (owner := owners.get(log.path)) is not None and not owner.belongs_to(run_id, log)
        ]
        if known is None:
            plan.new.append(one)
            continue
        mine = {renamed.get(path, path): file for path, file in files.get(known.id, {}).items()}
        change = _difference(source, known, one, mine, tree, beside, full=full)
        if change is None:
            plan.unchanged += 1
        else:
            plan.changed.append(change)
    moved = {run.id for run in moved_to.values()}
    plan.vanished = [run for run in gone if run.id not in moved and not run.files_missing]
    return plan


def _is_displaced(files: dict[bytes, KnownFile], found: FoundRun, tree: Tree) -> bool:
    """Whether a run's path holds files, but none of those that were there."""
    there = {log.path for log in found.log_files}
    mine = {path for path, file in files.items() if not file.missing}
    return bool(mine and there) and mine.isdisjoint(there) and all(tree.saw(path) for path in mine)


def _lost(
    runs: dict[bytes, KnownRun], files: dict[int, dict[bytes, KnownFile]], present: dict[bytes, FoundRun], tree: Tree,
    elsewhere: set[int],
) -> dict[int, list[FoundLog]]:
    """Files that runs have lost, and where they may be: under a name new to the run, or in the place
    of another of its files (a rename keeps the inode)."""
    lost: dict[int, list[FoundLog]] = {}
    known = {path for held in files.values() for path, file in held.items() if not file.missing}
    for path in present.keys() & runs.keys():
        held, logs = files.get(runs[path].id, {}), present[path].log_files
        there = {log.path for log in logs}
        gone = [file for where, file in held.items() if where not in there and not file.missing and tree.saw(where)]
        if not gone or runs[path].id in elsewhere:
            continue
        new = [log for log in logs if log.path not in known]
        for file in gone:
            taken = [log for log in logs if log.path in held and (log.stat.dev, log.stat.ino) == (file.device, file.inode)]
            if new or taken:
                lost[file.id] = [*taken, *new]
    return lost


def _difference(
    source: Source, known: KnownRun, found: FoundRun, files: dict[bytes, KnownFile], tree: Tree,
    beside: dict[bytes, File], *, full: bool,
) -> Change | None:
    """What differs between a known run and what was found of it; None where nothing does."""
    there = {log.path for log in found.log_files}
    changed, new, back = [], [], []
    for log in found.log_files:
        file = files.get(log.path)
        if file is None or not file.belongs_to(known.id, log):
            new.append(log)
            continue
        if file.missing:
            back.append(file.id)
        if full or file.missing or not file.is_as(log):
            changed.append(log)
    gone = [file.id for path, file in files.items() if path not in there and not file.missing and tree.saw(path)]
    facts = _facts(found) | _name_by_layout(known, found, tree.root, source)
    differs = (
        any(getattr(known, name) != value for name, value in facts.items())
        or known.files_missing
        or (known.dataset or "") != masks.label(found.dataset)[:500]
    )
    # by what was read of them: a sync that was cut off after the facts were written still owes them
    read = {name: (seen.get("size"), seen.get("mtime_ns")) for name, seen in known.sidecars.items()}
    there_now = {plain(masks.shown(path)): (beside[path].size, beside[path].mtime_ns) for path in found.sidecars}
    sidecars = full or read != there_now
    if not (changed or new or gone or differs or sidecars):
        return None
    return Change(known, found, changed, new, back, gone, differs, facts, sidecars)


def _facts(found: FoundRun) -> dict[str, Any]:
    """The columns of a run that follow the disk; its name does not: people may change it."""
    newest = found.newest_mtime_ns
    return {
        "size": found.size,
        "file_count": found.file_count,
        "event_file_count": found.event_files,
        "modified": None if newest is None else _moment(newest),
        "warnings": [
            {"kind": p.kind, "path": plain(masks.shown(p.path)), "detail": plain(redact.text(p.detail))}
            for p in found.problems[:WARNINGS_KEPT]
        ],
    }


def _name_by_layout(known: KnownRun, found: FoundRun, root: bytes, source: Source) -> dict[str, str]:
    """The run's new name where the source's last layout gave it the old one: no person did."""
    last = source.scanned_layout
    if last in ("", source.layout) or known.name == masks.label(found.name):
        return {}
    named = naming.run_name(found.path, layout=last, root=root)
    if found.shape == "job log":
        named = naming.job_name(found.path, layout=last)
    return {"name": masks.label(found.name)} if known.name == masks.label(named[1]) else {}


def _moment(mtime_ns: int) -> datetime | None:
    # whole microseconds, so that it compares equal with what the database returns
    try:
        return datetime.fromtimestamp(mtime_ns // 1_000_000_000, UTC).replace(
            microsecond=mtime_ns % 1_000_000_000 // 1000)
    except (OverflowError, ValueError, OSError):
        return None


def _writer(found: FoundRun) -> dict[str, Any]:
    """Host and process that wrote the first event file, from its name."""
    for log in found.log_files:
        match = WRITER.search(log.stat.name) or HOST.search(log.stat.name)
        if match is not None:
            pid = match.groupdict().get("pid")
            return {"host": plain(masks.shown(match["host"]))[:255], "pid": int(pid) if pid else None}
    return {}


def _log_file(source: Source, run_id: int, log: FoundLog) -> LogFile:
    # device, inode, size and mtime are filled when it has been read
    return LogFile(source=source, run_id=run_id, path=log.path, prefix=plain(log.prefix), kind=log.kind)


def _datasets(source: Source, found: Iterable[FoundRun]) -> dict[str, Dataset]:
    """Rows for all dataset names that occur ("" has none)."""
    names = {one.dataset for one in found if one.dataset}
    Dataset.objects.bulk_create(
        (Dataset(trainer_id=source.trainer_id, name=masks.label(name)[:500]) for name in sorted(names)), ignore_conflicts=True)
    rows = Dataset.objects.filter(trainer_id=source.trainer_id, name__in={masks.label(name)[:500] for name in names})
    by_name = {row.name: row for row in rows}
    return {name: by_name[masks.label(name)[:500]] for name in names}


def _known_files(source: Source) -> dict[int, dict[bytes, KnownFile]]:
    by_run: dict[int, dict[bytes, KnownFile]] = {}
    rows = LogFile.objects.filter(source=source, run__lifecycle_stage=Run.Stage.ACTIVE).values_list(
        "id", "run_id", "path", "prefix", "device", "inode", "size", "mtime_ns", "missing")
    for pk, run_id, path, prefix, device, inode, size, mtime_ns, missing in rows.iterator(10_000):
        file = KnownFile(pk, run_id, bytes(path), prefix, device, int(inode), size, mtime_ns, missing)
        by_run.setdefault(run_id, {})[file.path] = file
    return by_run


def _known_runs(source: Source) -> dict[bytes, KnownRun]:
    rows = Run.objects.filter(source=source).active().values_list(
        "id", "path", "name", "dataset__name", "files_missing", "size", "file_count", "event_file_count", "modified",
        "warnings", "sidecars")
    return {bytes(row[1]): KnownRun(row[0], bytes(row[1]), *row[2:]) for row in rows.iterator(10_000)}


def _batches(found: list[T]) -> Iterable[list[T]]:
    return (found[at : at + BATCH] for at in range(0, len(found), BATCH))
