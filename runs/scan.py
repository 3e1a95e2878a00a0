"""One sync of one source, as its child process does it: scan, compare, write, read, settle."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec
import zstandard
from django.db import transaction
from django.db.models import Q, Sum
from django.utils.timezone import now

from runs import beside, galleries, masks, redact, volumes
from runs.identity import RACY
from runs.ingest import Gained, Work, ingest
from runs.lease import Lease
from runs.models import LogFile, Run, Source
from runs.readers import confined, jsonl, layout, naming, textlog, tfevents
from runs.readers.found import Found, Peeked, Verdict
from runs.readers.plain import plain
from runs.readers.problems import IO_ERROR, LONG_PATH, MORE, MOUNT, TOO_DEEP, UNREADABLE, Problem
from runs.readers.tree import (
    RootEmpty,
    RootMissing,
    RootNotDirectory,
    RootUnreadable,
    Tree,
    walk,
)
from runs.register import Plan, compare
from runs.share import ingest_all
from runs.silence import settle_silent

PROBLEMS_KEPT = 100
#: What a peek into an event file looks at.
PEEKED_BYTES = 65536
#: Kinds of problems that mean that something was not read; the others are notes.
UNREAD = frozenset({UNREADABLE, IO_ERROR, LONG_PATH, TOO_DEEP, MORE})
#: An undecided directory inside a run becomes a run of its own after this time without data.
UNDECIDED_FOR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a sync is: files seen while scanning, then bytes and runs read."""

    phase: str
    files: int = 0
    runs_done: int = 0
    runs_total: int = 0
    bytes_read: int = 0
    bytes_total: int = 0


@dataclass(frozen=True, slots=True)
class Synced:
    """A source was synced.

    ``problems`` name what was damaged or could not be read; ``notes`` what was left alone
    on purpose: symlinks, FIFOs, copies that are still under way, empty folders.
    """

    source_id: int
    source: str
    runs: int = 0
    new: int = 0
    grown: int = 0
    unchanged: int = 0
    moved: int = 0
    missing: int = 0
    damaged: int = 0
    bytes_read: int = 0
    records: int = 0
    points: int = 0
    seconds: float = 0.0
    dry_run: bool = False
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Failed:
    """A source could not be synced; nothing of it was marked missing."""

    source_id: int
    source: str
    error: str


Report = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Options:
    """How to sync: read all files again (``full``), write nothing (``dry_run``), processes."""

    full: bool = False
    dry_run: bool = False
    workers: int = 1


def sync_source(lease: Lease, options: Options, report: Report) -> Synced | Failed:
    """Sync the leased source in this process; records success or failure on its row."""
    began = time.monotonic()
    source = Source.objects.select_related("trainer").get(pk=lease.source_id)
    outcome = _Sync(source, lease, options, report).run(began)
    if options.dry_run:
        return outcome
    with transaction.atomic():
        lease.check()
        if isinstance(outcome, Failed):
            Source.objects.filter(pk=source.pk).update(
                status=Source.Status.ERROR, last_error=plain(outcome.error), fingerprint=b"")
        else:
            Source.objects.filter(pk=source.pk).update(
                status=Source.Status.OK, last_error="", last_synced=now(), sync_seconds=outcome.seconds, loss_confirmed=False,
                problems=[*outcome.problems, *outcome.notes][:PROBLEMS_KEPT])
    return outcome


class _Sync:
    """The steps of one sync."""

    def __init__(self, source: Source, lease: Lease, options: Options, report: Report) -> None:
        self.source, self.lease, self.options, self.report = source, lease, options, report
        self.bytes_read = 0

    def run(self, began: float) -> Synced | Failed:
        source = self.source
        try:
            volumes.refresh(source.root, lambda: self.report(Progress("refreshing")))
        except volumes.Failed as failed:
            return Failed(source.pk, str(source), f"{source.root_text}: its volume was not refreshed: {failed}")
        tree = walk(source.root.encode(errors="surrogateescape"), keep=naming.is_wanted,
                    on_progress=lambda files: self.report(Progress("scanning", files=files)))
        if not isinstance(tree, Tree):
            return self._no_tree(tree)
        print_ = fingerprint(tree, source.layout)
        if print_ == bytes(source.fingerprint) and not self.options.full:
            if not self.options.dry_run:
                settle_silent(self.source.pk, self.lease)
            runs = Run.objects.filter(source=source).active().count()
            return self._synced(began, Gained(), runs=runs, unchanged=runs)
        verdicts = load_verdicts(bytes(source.verdicts))
        stale = time.time_ns() - int(UNDECIDED_FOR.total_seconds() * 1e9)
        found = layout.find_runs(tree, layout=source.layout, peek=self._peek, known=verdicts, stale_before_ns=stale)
        plan = compare(source, tree, found, full=self.options.full, report=lambda: self.report(Progress("comparing")))
        if (doubt := self._doubt(tree, plan)) is not None:
            return Failed(source.pk, str(source), doubt)
        if self.options.dry_run:
            return self._told(began, plan, found, Gained())
        plan.carry_out(self.lease, lambda: self.report(Progress("registering")))
        gained = self._read(plan)
        galleries.attach(self.source, tree, verdicts, found.verdicts, self.lease)
        settle_silent(self.source.pk, self.lease)
        # a tree that changed while we read, or had trouble, is looked at in full next time
        unread = any(problem.kind in UNREAD for problem in _all_problems(found))
        clean = not (gained.errors or gained.vanished or unread or tree.unseen or found.undecided or _racy(tree))
        self._remember(tree, found, print_ if clean else b"")
        return self._told(began, plan, found, gained)

    def _no_tree(self, root: RootMissing | RootNotDirectory | RootUnreadable | RootEmpty) -> Synced | Failed:
        source = self.source
        if isinstance(root, RootEmpty):
            active = Run.objects.filter(source=source, files_missing=False).active()
            if not active.exists():
                return Synced(source.pk, str(source))
            if source.loss_confirmed and not self.options.dry_run:
                with transaction.atomic():
                    self.lease.check()
                    missing = source.lose_files()
                return Synced(source.pk, str(source), missing=missing)
            return Failed(source.pk, str(source), (
                f"{source.root_text} is empty, but {active.count()} runs are registered there: is the volume mounted? "
                "If they are really gone, confirm it in the admin or with sync_runs --confirm-loss."))
        words = {
            RootMissing: "does not exist",
            RootNotDirectory: "is not a folder",
            RootUnreadable: f"cannot be read: {getattr(root, 'detail', '')}",
        }
        return Failed(source.pk, str(source), f"{source.root_text} {words[type(root)]}")

    def _doubt(self, tree: Tree, plan: Plan) -> str | None:
        """A half-mounted volume: another device, and known runs are gone with it."""
        source = self.source
        if not plan.vanished or source.loss_confirmed:
            return None
        away, what = len(plan.vanished), "is on another device than before"
        if source.device in (None, tree.dev):
            away, what = len(_unmounted(source, tree, plan)), "has lost a file system that was mounted in it"
        if not away:
            return None
        return (
            f"{source.root_text} {what} and {away} known runs are not there: is the volume mounted? "
            "If they are really gone, confirm it in the admin or with sync_runs --confirm-loss.")

    def _peek(self, path: bytes) -> Peeked | None:
        self.report(Progress("scanning"))
        try:
            with confined.opened(self.source.root, path) as fd:
                if path.endswith(naming.JOB_LOG_SUFFIX):
                    return beside.peek_job_log(jsonl.peek(fd))
                if naming.may_be_text_log(path.rpartition(b"/")[2]):
                    return beside.peek_text_log(textlog.peek(fd), os.fstat(fd).st_size)
                seen = tfevents.peek(fd)
                # one tag may yet be followed by a foreign one
                settled = len(seen.tags) > 1 or os.fstat(fd).st_size > PEEKED_BYTES
                return Peeked(tags=tuple(seen.tags), settled=settled)
        except OSError:
            return None

    def _read(self, plan: Plan) -> Gained:
        """Sidecars and log files of the runs that changed, by one or several processes."""
        done, total = 0, self._bytes_to_read(plan)

        def tell(amount: int, runs: int = 0) -> None:
            nonlocal done
            done += runs
            self.bytes_read += amount
            self.report(Progress("reading", runs_done=done, runs_total=len(plan.to_read), bytes_read=self.bytes_read,
                                 bytes_total=total))

        work: list[Work] = [(run_id, found.sidecars) for run_id, found in plan.to_read.items()]
        if self.options.workers > 1 and len(work) > 1:
            sizes = {run_id: found.size for run_id, found in plan.to_read.items()}
            return ingest_all(
                work, sizes, self.source.root, self.lease, self.options.workers, tell, full=self.options.full)
        return ingest(work, self.source.root, self.lease, tell, full=self.options.full)

    def _bytes_to_read(self, plan: Plan) -> int:
        """What the log files of these runs hold beyond what was read of them."""
        held = sum(log.stat.size for found in plan.to_read.values() for log in found.log_files)
        if self.options.full or not plan.grown:
            return held
        read = LogFile.objects.filter(run__in=[change.known.id for change in plan.grown], missing=False)
        return max(0, held - (read.aggregate(total=Sum("offset"))["total"] or 0))

    def _remember(self, tree: Tree, found: Found, print_: bytes) -> None:
        with transaction.atomic():
            self.lease.check()
            Source.objects.filter(pk=self.source.pk).update(
                device=tree.dev, scanned_layout=self.source.layout, fingerprint=print_,
                verdicts=dump_verdicts(found.verdicts))

    def _told(self, began: float, plan: Plan, found: Found, gained: Gained) -> Synced:
        odd = _all_problems(found)
        unread = [_line(p) for p in odd if p.kind in UNREAD]
        notes = [_line(p) for p in odd if p.kind not in UNREAD]
        damaged, named = _damage(self.source)
        known = {change.known.id for change in plan.grown}
        grown = len(known if self.options.dry_run else known & gained.runs)
        return self._synced(
            began, gained, runs=len(found.runs), new=len(plan.new), grown=grown,
            unchanged=len(found.runs) - len(plan.new) - grown, moved=len(plan.moves.by_path),
            missing=len(plan.vanished), damaged=damaged, problems=[*named, *unread], notes=notes)

    def _synced(self, began: float, gained: Gained, **counts: Any) -> Synced:
        if "problems" not in counts:
            # nothing has changed: what was odd is as odd as before, and none of it was unread
            damaged, named = _damage(self.source)
            counts |= {"damaged": damaged, "problems": named,
                       "notes": [note for note in self.source.problems if note not in named]}
        return Synced(
            self.source.pk, str(self.source), bytes_read=gained.bytes_read, records=gained.records,
            points=gained.points, seconds=round(time.monotonic() - began, 3), dry_run=self.options.dry_run, **counts)


def fingerprint(tree: Tree, layout: str) -> bytes:
    """A hash of everything that a scan looks at: equal where nothing has changed."""
    digest = hashlib.sha256(f"2 {layout}".encode())
    for directory in tree.top.walk():
        own = directory.own
        # as text: a forged mtime needs more than 64 bits
        seen = f"{own.files} {own.size} {own.newest_mtime_ns} {directory.entries} {len(directory.files)}"
        digest.update(b"\0%b\0%b\0" % (directory.path, seen.encode()))
        for file in directory.files:
            digest.update(b"%b\0%d %d %d\0" % (file.name, file.size, file.mtime_ns, file.ino))
        for problem in directory.problems:
            digest.update(repr(problem).encode())
    return digest.digest()


def _unmounted(source: Source, tree: Tree, plan: Plan) -> list[bytes]:
    """Vanished runs that lay on a file system of their own, where none is mounted now."""
    ids = [run.id for run in plan.vanished]
    elsewhere = set(LogFile.objects.filter(run__in=ids, missing=False).exclude(
        device__in=[0, tree.dev]).values_list("run_id", flat=True))
    mounts = {problem.path for problem in tree.problems if problem.kind == MOUNT}
    return [run.path for run in plan.vanished if run.id in elsewhere and mounts.isdisjoint(_ends(run.path))]


def _ends(path: bytes) -> list[bytes]:
    """A path and every folder above it."""
    parts = path.split(b"/")
    return [b"/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def dump_verdicts(verdicts: dict[bytes, Verdict]) -> bytes:
    """What peeks said, to spare them in the next scan."""
    rows = [(path, v.ino, v.size, v.mtime_ns, v.peeked.tags, v.peeked.dialect, v.peeked.named, v.peeked.settled)
            for path, v in verdicts.items()]
    return zstandard.compress(msgspec.msgpack.encode(rows), 3)


def load_verdicts(data: bytes) -> dict[bytes, Verdict]:
    """What ``dump_verdicts`` wrote; empty where there is nothing."""
    if not data:
        return {}
    rows = msgspec.msgpack.decode(zstandard.decompress(data, max_output_size=1 << 30))
    return {path: Verdict(ino, size, mtime, Peeked(tuple(tags), dialect, tuple(named), settled))
            for path, ino, size, mtime, tags, dialect, named, settled in rows}


def _racy(tree: Tree) -> bool:
    """Whether a file changed so recently that its mtime may hide another change."""
    newest = tree.top.total.newest_mtime_ns
    return newest is not None and newest > time.time_ns() - int(RACY * 1e9)


def _all_problems(found: Found) -> list[Problem]:
    return [*found.problems, *(problem for run in found.runs for problem in run.problems)]


def _damage(source: Source) -> tuple[int, list[str]]:
    """How many runs have damaged or unreadable files, and which files."""
    hurt = Q(bad_records__gt=0) | Q(lost_bytes__gt=0) | Q(pending__isnull=False) | ~Q(error="")
    files = LogFile.objects.filter(hurt, source=source, missing=False)
    named = []
    runs = set()
    for file in files.order_by("path"):
        runs.add(file.run_id)
        if file.error:
            named.append(f"{file.path_text}: {file.error}")
        if file.pending:
            named.append(f"{file.path_text}: no record from byte {file.pending['offset']} on ({file.pending['kind']})")
        if file.bad_records or file.lost_bytes:
            at = ", ".join(str(one["offset"]) for one in file.damages[:3])
            named.append(f"{file.path_text}: {file.bad_records} damaged records, {file.lost_bytes} bytes lost, at {at}")
    return len(runs), named


def _line(problem: Problem) -> str:
    return f"{masks.path(naming.display(problem.path)) or '.'}: {problem.kind} {redact.text(problem.detail)}".strip()
