"""Runs on a disk and in the registry, old enough to go."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.utils.timezone import now

from retention.models import Plan, PlannedRun, Tombstone
from runs.models import Run, Source
from tests.runs.factories import make_run, make_source, make_trainer

DAY = 86_400.0


def source_at(root: Path, slug: str = "lora") -> Source:
    """A source whose root is there."""
    root.mkdir(parents=True, exist_ok=True)
    return make_source(make_trainer(slug), root=str(root), real_root=str(root.resolve()))


def run_at(source: Source, path: str = "ds/run", *, days: float = 30.0, sizes: tuple[int, ...] = (300, 20), **fields: Any) -> Run:
    """A run with an event file and others; the registry and the disk say the same of it."""
    folder = Path(source.root) / path
    (folder / "sub").mkdir(parents=True)
    names = ["events.out.tfevents.1.host.1.0", *(f"sub/file-{number}" for number in range(1, len(sizes)))]
    for name, size in zip(names, sizes, strict=True):
        (folder / name).write_bytes(os.urandom(size))
    aged(folder, days)
    then = now() - timedelta(days=days)
    at = {"modified": then, "last_arrival": then, "last_event": then, "started": then - timedelta(hours=1)}
    facts: dict[str, Any] = {"size": sum(sizes), "file_count": len(sizes), "event_file_count": 1, "name": folder.name, **at}
    return make_run(source, path=path.encode(), **{**facts, **fields})


def make_tomb(run: Run) -> Tombstone:
    """What the registry knows of a run that a cleanup has buried; the run itself is left as it is."""
    plan = Plan.objects.create(who="otto", origin="web", state=Plan.State.DONE, digest="0" * 64, confirmed_at=now())
    planned = PlannedRun.objects.create(
        plan=plan, run=run, path=run.path, inode=1, digest="0" * 64, size=320, frees=4096, files=2, step=PlannedRun.Step.BURIED)
    return Tombstone.objects.create(
        run=run, planned=planned, source=run.source, path=run.path, grave=planned.grave, inode=1, digest="0" * 64, size=320,
        frees=4096, buried_at=now(), purge_after=now() + plan.grace)


def aged(folder: Path, days: float) -> None:
    """Date everything in a folder, and itself, back."""
    then = time.time() - days * DAY
    for path in [*folder.rglob("*"), folder]:
        os.utime(path, (then, then), follow_symlinks=False)


def content(root: Path) -> dict[str, tuple[str, int, int, bytes]]:
    """Everything below a folder but the trash: kind, mode, mtime and bytes."""
    found = {}
    for path in sorted(root.rglob("*")):
        if ".trainmon-trash" in path.relative_to(root).parts:
            continue
        seen = path.lstat()
        body = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        kind = "link" if path.is_symlink() else "folder" if path.is_dir() else "file"
        found[str(path.relative_to(root))] = (kind, seen.st_mode, seen.st_mtime_ns, body)
    return found
