"""Committing what was read: rows, offsets and status in one transaction, for many files at once."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import cache

from django.db import transaction
from django.utils.timezone import now

from runs import beside, counted, galleries, generations, jobs, logchunks, segments, series, signals
from runs.beside import Beside
from runs.compiled import Compiled
from runs.facts import apply_facts, settle
from runs.lease import Lease, LeaseLost
from runs.models import LogFile, Run, Transition
from runs.points import Portion, write_all
from runs.query.conditions import among
from runs.readers.plain import plain
from runs.reading import Piece, Trouble
from runs.rows import Standing, sum_damage

#: Replaced generations of a file that are kept beside the shown one.
KEPT_GENERATIONS = 3
DAMAGES_KEPT = 100

#: The columns that reading a run may change.
RUN_FIELDS = [
    "status", "status_reason", "status_evidence", "status_since", "stalled", "version", "started", "ended",
    "last_event", "last_arrival", "pulse", "step", "total_steps", "epoch", "stage", "early_stopped", "error",
    "error_type", "error_stack", "point_count", "params", "param_sources", "sidecars",
    "said", "gpu_type", "gpu_count",
]
FILE_FIELDS = [
    "device", "inode", "size", "mtime_ns", "offset", "head_hash", "tail_hash", "state", "generation", "reading",
    "records", "points", "bad_records", "lost_bytes", "damages", "pending", "error", "first_wall", "last_wall",
]


@dataclass(slots=True)
class Batch:
    """What one transaction will write; each file is in it at most once.

    ``done`` are runs that are read to their end with this batch: their status is judged.
    """

    pieces: list[Piece] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    besides: list[Beside] = field(default_factory=list)
    done: list[int] = field(default_factory=list)

    def run_ids(self) -> set[int]:
        """Every run that something is known of."""
        read = {piece.file.run_id for piece in self.pieces} | {trouble.file.run_id for trouble in self.troubles}
        return read | {found.run_id for found in self.besides} | set(self.done)


def commit(batch: Batch, lease: Lease) -> None:
    """Write a batch; raises LeaseLost where another sync has gone on meanwhile."""
    run_ids = sorted(batch.run_ids())
    if not run_ids:
        return
    series.ensure_tags({
        series.tag_name(piece.file.prefix, one.tag) for piece in batch.pieces for one in piece.points})
    with transaction.atomic():
        lease.check()
        runs = {run.pk: run for run in _locked_runs().models(runs=run_ids)}
        _expect_unchanged(batch.pieces)
        before = {pk: _judged(run) for pk, run in runs.items()}
        files = Standing([*(piece.file for piece in batch.pieces), *(one.file for one in batch.troubles)], FILE_FIELDS)
        standing = Standing(runs.values(), RUN_FIELDS)
        heard = {one.run_id for one in batch.besides if one.run_id in runs and beside.apply(runs[one.run_id], one)}
        counted.store(batch.pieces)
        stored, jobs_at = _store(runs, batch.pieces)
        heard |= stored
        for trouble in batch.troubles:
            heard.add(trouble.file.run_id)
            _note(trouble)
        transitions: list[Transition] = []
        for run_id in runs.keys() & set(batch.done):
            settle(runs[run_id], time.time(), transitions)
        Transition.objects.bulk_create(transitions)
        jobs_at |= jobs.settle(runs[pk] for pk in runs.keys() & set(batch.done) if _judged(runs[pk]) != before[pk])
        changed = [run for pk, run in runs.items() if pk in heard or _judged(run) != before[pk]]
        for run in changed:
            run.version += 1
        files.save()
        standing.save()
        sum_damage([piece.file.run_id for piece in batch.pieces if piece.damages or piece.begins])
        counted.let_go(batch.pieces)
        signals.tell(runs={run.pk: run.version for run in changed}, jobs=jobs_at)


def _note(trouble: Trouble) -> None:
    """Say on a file why it is not read further; one beyond a limit waits until it changes."""
    file = trouble.file
    file.error = trouble.why or file.error
    if trouble.seen is not None:
        file.device, file.inode = trouble.seen.device, trouble.seen.inode
        file.size, file.mtime_ns = trouble.seen.size, trouble.seen.settled_mtime_ns()


def _judged(run: Run) -> tuple[str, bool]:
    return run.status, run.stalled


def _expect_unchanged(pieces: list[Piece]) -> None:
    """Nobody else has read these files meanwhile (the lease should make that impossible)."""
    stored = dict(_locked_files().rows(files=[piece.file.pk for piece in pieces]))
    for piece in pieces:
        if stored.get(piece.file.pk) != piece.file.offset:
            raise LeaseLost(f"{piece.file.path_text} was read or removed by another sync")


@cache
def _locked_runs() -> Compiled[Run]:
    return Compiled(Run.objects.select_for_update().filter(among("pk", "runs")).order_by("pk"))


@cache
def _locked_files() -> Compiled[LogFile]:
    held = LogFile.objects.select_for_update().filter(among("pk", "files"))
    return Compiled(held.order_by("pk").values_list("pk", "offset"))


def _store(runs: dict[int, Run], pieces: list[Piece]) -> tuple[set[int], dict[int, int]]:
    """Points and what goes with them; the runs that something came for, and the versions of their jobs."""
    write_all(Portion(piece.writer, piece.points, piece.generation == piece.file.generation) for piece in pieces)
    segments.store(pieces)
    segments.store_texts(pieces)
    segments.store_samples(pieces)
    heard, switched = set(), set()
    jobs_at: dict[int, int] = {}
    for piece in pieces:
        run, file = runs[piece.file.run_id], piece.file
        if piece.begins:
            _begin(file, piece.generation)
        jobs_at |= jobs.apply(run, file, piece.blocks, piece.named)
        apply_facts(run, file, piece.blocks, piece.seen.mtime)
        switching = piece.at_end and piece.generation != file.generation
        _advance(piece)
        if switching and generations.are_same(file, file.generation, file.reading):
            generations.drop(run, file)
            counted.keep(file)
            continue
        if switching:
            _switch(file)
            switched.add(run.pk)
        elif file.reading == file.generation:
            run.point_count += sum(len(one.steps) for one in piece.points)
        if piece.records or piece.damages or switching:
            heard.add(run.pk)
    if switched:
        logchunks.recount(switched)
    for run_id in switched:  # at the end: a recount sees the points of all of these pieces
        runs[run_id].point_count = series.recount(run_id)
    return heard, jobs_at


def _begin(file: LogFile, generation: int) -> None:
    """The content is another than was read: count from 0, beside what is shown."""
    file.reading = generation
    file.records = file.points = file.bad_records = file.lost_bytes = 0
    file.damages, file.first_wall, file.last_wall, file.mtime_ns = [], None, None, 0


def _switch(file: LogFile) -> None:
    """Show the generation that has been read to its end."""
    file.generation = file.reading
    file.replaced = now()
    LogFile.objects.filter(pk=file.pk).update(generation=file.generation, replaced=file.replaced)  # recount reads it
    galleries.follow(file)
    generations.forget(file, file.reading - KEPT_GENERATIONS)


def _advance(piece: Piece) -> None:
    """Bring a file's row to the end of what was read."""
    file, seen, damages, blocks = piece.file, piece.seen, piece.damages, piece.blocks
    file.offset, file.state = piece.state.offset, piece.state.dump()
    file.head_hash, file.tail_hash = piece.head_hash, piece.tail_hash
    file.device, file.inode = seen.device, seen.inode
    # an unfinished pass must not look complete to the next scan
    file.size, file.mtime_ns = (seen.size, seen.settled_mtime_ns()) if piece.at_end else (-1, 0)
    file.records += piece.records
    file.points += sum(len(one.steps) for one in piece.points)
    file.bad_records += sum(1 for damage in damages if damage.kind != "length crc")
    file.lost_bytes += sum(damage.length for damage in damages)
    room = DAMAGES_KEPT - len(file.damages)
    if found := damages[:room]:
        file.damages = file.damages + [
            {"offset": d.offset, "length": d.length, "kind": d.kind, "detail": plain(d.detail)} for d in found]
    last = blocks[-1].pending
    file.pending = None if last is None else {"offset": last.offset, "length": last.length, "kind": last.kind}
    # of its first and its last record, whatever the clock did between
    firsts = [file.first_wall, *(block.first_wall for block in blocks)]
    lasts = [*(block.last_wall for block in reversed(blocks)), file.last_wall]
    file.first_wall = next((wall for wall in firsts if wall is not None), None)
    file.last_wall = next((wall for wall in lasts if wall is not None), None)
    file.error = ""
