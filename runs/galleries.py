"""Samples and checkpoints that no log names: they lie where they lie by custom, and a scan attaches them.

A folder ``samples`` or ``checkpoints`` belongs to the job that the folder around it is named after
(artifacts/jobs/{job}/samples), else to the nearest run above it.  A folder is listed when its number of files or
newest time has changed.  A row that a scan made has the offset -1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.db import transaction
from django.db.models import F

from runs import masks, signals
from runs.artifacts import NAMED_KEPT
from runs.facts import moment
from runs.lease import Lease
from runs.models import Checkpoint, Job, LogFile, Run, Sample, Source
from runs.readers import confined, naming, plain
from runs.readers.found import Peeked, Verdict
from runs.readers.naming import parent_of
from runs.readers.tree import Directory, Tree, join

SAMPLES, CHECKPOINTS = b"samples", b"checkpoints"
BY_SCAN = -1
_IMAGE = re.compile(rb"(.+)\.(?:png|jpe?g|webp|gif)", re.IGNORECASE | re.DOTALL)
_WEIGHTS = re.compile(rb"(.+)\.(?:safetensors|ckpt|pth?|bin|gguf|onnx|npz)", re.IGNORECASE | re.DOTALL)
#: step_00100, {ms}__000000100_2 (AI-Toolkit), name-100, 100.
_STEP = re.compile(rb"(?:^|.*?[_-])(?:step[_-]?)?(\d{1,18})(?:_(\d{1,6}))?", re.IGNORECASE | re.DOTALL)
_TOOLKIT = re.compile(rb"\d+__(\d{1,18})_(\d{1,6})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a folder is; ``log_file`` stands for it in rows that need one."""

    run_id: int
    job_id: int | None
    log_file: LogFile


def attach(source: Source, tree: Tree, known: dict[bytes, Verdict], seen: dict[bytes, Verdict], lease: Lease) -> None:
    """Attach what lies in folders that have changed; ``seen`` then holds how they are."""
    changed = []
    for folder in tree.top.walk():
        if folder.name not in (SAMPLES, CHECKPOINTS) or not (folder.own.files or folder.path in known):
            continue
        now = _verdict(folder)
        if known.get(folder.path) == now:
            seen[folder.path] = now
        else:
            changed.append((folder, now))
    for path, owner in _owners(source, [folder for folder, _ in changed]).items():
        listed = _listed(source, path)
        if listed is not None:
            with transaction.atomic():
                lease.check()
                _store(owner, path, listed)
            seen.update((folder.path, now) for folder, now in changed if folder.path == path)
    _look_for_folders(source, tree, lease)
    _look_elsewhere(source, tree, known, seen, lease)


def _look_for_folders(source: Source, tree: Tree, lease: Lease) -> None:
    """Checkpoints that are folders, wherever they lie: the scan has seen whether they are there."""
    rows = Checkpoint.objects.filter(run__source=source, size=None).exclude(path=b"").order_by("run", "pk")
    if not (known := list(rows)):
        return
    there = {folder.path for folder in tree.top.walk()}
    changed = []
    for one in known:
        if one.missing == (bytes(one.path) in there) and tree.saw(bytes(one.path)):
            one.missing = not one.missing
            changed.append(one)
    _save(changed, lease)


def _look_elsewhere(
    source: Source, tree: Tree, known: dict[bytes, Verdict], seen: dict[bytes, Verdict], lease: Lease
) -> None:
    """Files that a log named, wherever they lie: a folder of them is listed when it has changed or is gone."""
    held: dict[bytes, list[Checkpoint]] = {}
    for one in Checkpoint.objects.filter(run__source=source, run__lifecycle_stage=Run.Stage.ACTIVE).exclude(path=b""):
        held.setdefault(parent_of(bytes(one.path)), []).append(one)
    folders = {folder.path: folder for folder in tree.top.walk()} if held else {}
    changed = []
    for path, mine in held.items():
        now = _verdict(folders[path]) if path in folders else None
        if path in seen or (now is not None and known.get(path) == now):
            seen[path] = seen.get(path) or known[path]
            continue
        listed = _listed(source, path, gone=tree.saw(path))
        if listed is None:
            continue
        changed += [one for one in mine if _follow(one, listed)]
        if now is not None:
            seen[path] = now
    _save(changed, lease)


def _save(changed: list[Checkpoint], lease: Lease) -> None:
    """Checkpoints that came, went or grew: each run's in a transaction of its own."""
    by_run: dict[int, list[Checkpoint]] = {}
    for one in changed:
        by_run.setdefault(one.run_id, []).append(one)
    for run_id, mine in sorted(by_run.items()):
        with transaction.atomic():
            lease.check()
            run = Run.objects.select_for_update().get(pk=run_id)
            Checkpoint.objects.bulk_update(mine, ["size", "missing"], batch_size=500)
            _tell(run, {one.job_id for one in mine if one.job_id})


def _verdict(folder: Directory) -> Verdict:
    """How a folder is, to tell whether it changed."""
    return Verdict(0, folder.own.files, folder.own.newest_mtime_ns or 0, Peeked())


def step_of(stem: bytes) -> tuple[int, int | None]:
    """The step and index that a file's name holds; (0, None) where it holds none."""
    found = _TOOLKIT.fullmatch(stem) or _STEP.fullmatch(stem)
    if found is None:
        return 0, None
    step = int(found[1])
    return (step if step < 2**63 else 0), int(found[2]) if found[2] else None


def _owners(source: Source, folders: list[Directory]) -> dict[bytes, Owner]:
    """By path, the folders that somebody owns."""
    if not folders:
        return {}
    names = {_named_after(folder) for folder in folders}
    jobs = {job.external_id: job for job in Job.objects.filter(source=source, external_id__in=names).order_by("pk")}
    runs = dict(Run.objects.filter(source=source).active().values_list("path", "pk")) if folders else {}
    by_path = {bytes(path): pk for path, pk in runs.items()}
    owners = {}
    for folder in folders:
        job = jobs.get(_named_after(folder))
        run_id = job.run_id if job is not None else _run_above(folder.path, by_path)
        if run_id is None:
            continue
        if job is None:
            job = Job.objects.filter(run=run_id).order_by(F("last_event").desc(nulls_last=True)).first()
        file = LogFile.objects.filter(run=run_id).order_by("-kind", "pk").first()
        if file is not None:
            owners[folder.path] = Owner(run_id, job.pk if job else None, file)
    return owners


def _named_after(folder: Directory) -> str:
    """The job that the folder around this one would be of."""
    return masks.name(naming.display(parent_of(folder.path).rpartition(b"/")[2]))[:200]


def _run_above(path: bytes, runs: dict[bytes, int]) -> int | None:
    while path:
        path = parent_of(path)
        if path in runs:
            return runs[path]
    return None


def _listed(source: Source, folder: bytes, *, gone: bool = False) -> dict[bytes, tuple[int, float]] | None:
    """Size and mtime of a folder's files by path; None where it cannot be read now.

    ``gone``: where it is none any more, nothing is in it.
    """
    try:
        return {join(folder, name): found for name, found in confined.listed(source.root, folder)}
    except (FileNotFoundError, NotADirectoryError):
        return {} if gone else None
    except OSError:
        return None


def _store(owner: Owner, folder: bytes, listed: dict[bytes, tuple[int, float]]) -> None:
    run = Run.objects.select_for_update().get(pk=owner.run_id)
    is_samples = folder.rpartition(b"/")[2] == SAMPLES
    changed = (_store_samples if is_samples else _store_checkpoints)(owner, folder, listed)
    if changed:
        _tell(run, {owner.job_id} if owner.job_id else set())


def _tell(run: Run, job_ids: set[int]) -> None:
    """The next version of a run that is locked, and of jobs of it."""
    Run.objects.filter(pk=run.pk).update(version=F("version") + 1)
    mine = Job.objects.filter(pk__in=job_ids)
    mine.update(version=F("version") + 1)
    jobs = dict(mine.values_list("pk", "version"))
    signals.tell(runs={run.pk: run.version + 1}, jobs=jobs)


def _store_samples(owner: Owner, folder: bytes, listed: dict[bytes, tuple[int, float]]) -> bool:
    held = {bytes(path): (pk, offset) for pk, path, offset in
            Sample.objects.filter(run=owner.run_id).exclude(path=b"").values_list("pk", "path", "offset")}
    gone = [pk for path, (pk, offset) in held.items() if offset == BY_SCAN and parent_of(path) == folder and path not in listed]
    Sample.objects.filter(pk__in=gone).delete()
    rows: list[Sample] = []
    for path, (size, mtime) in sorted(listed.items()):
        image = _IMAGE.fullmatch(path.rpartition(b"/")[2])
        if image is None or path in held or len(held) + len(rows) >= NAMED_KEPT:
            continue
        step, index = step_of(image[1])
        rows.append(Sample(
            run_id=owner.run_id, log_file=owner.log_file, generation=owner.log_file.generation, part=0, offset=BY_SCAN,
            length=0, kind="image", tag="samples" if index is None else f"samples/{index}", step=step, wall=mtime,
            job_id=owner.job_id, path=path, said=_shown(path), index=index, size=size))
    Sample.objects.bulk_create(rows, batch_size=1000)
    return bool(rows or gone)


def _store_checkpoints(owner: Owner, folder: bytes, listed: dict[bytes, tuple[int, float]]) -> bool:
    held = {bytes(one.path): one for one in Checkpoint.objects.filter(run=owner.run_id).exclude(path=b"")}
    changed = [one for path, one in held.items() if parent_of(path) == folder and _follow(one, listed)]
    Checkpoint.objects.bulk_update(changed, ["size", "missing"], batch_size=500)
    rows: list[Checkpoint] = []
    for path, (size, mtime) in sorted(listed.items()):
        weights = _WEIGHTS.fullmatch(path.rpartition(b"/")[2])
        if weights is None or path in held or len(held) + len(rows) >= NAMED_KEPT:
            continue
        rows.append(Checkpoint(
            run_id=owner.run_id, job_id=owner.job_id, said=_shown(path), path=path, step=step_of(weights[1])[0], size=size,
            at=moment(mtime)))
    Checkpoint.objects.bulk_create(rows, batch_size=1000, ignore_conflicts=True)
    return bool(rows or changed)


def _follow(one: Checkpoint, listed: dict[bytes, tuple[int, float]]) -> bool:
    """Bring a checkpoint to what its folder's list says; whether that was news."""
    size = listed.get(bytes(one.path), (None, 0.0))[0]
    if size is None and (one.missing or one.size is None):
        return False  # without a size it is a folder: only files are listed
    if (size, False) == (one.size, one.missing):
        return False
    one.size, one.missing = one.size if size is None else size, size is None
    return True


def _shown(path: bytes) -> str:
    return plain.plain(masks.shown(path))


def follow(file: LogFile) -> None:
    """What a scan attached stays with the shown generation of a file."""
    Sample.objects.filter(log_file=file, offset=BY_SCAN).update(generation=file.generation)
