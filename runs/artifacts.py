"""Samples and checkpoints that a log names: where they lie below the source's root, and their rows.

A path is looked up before the transaction: absolute below the root, or relative to the log's folder or
one above it.  What lies elsewhere is kept as it was said, and never served.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from runs import masks
from runs.facts import moment
from runs.models import Checkpoint, Job, LogFile, Sample
from runs.readers import confined, plain
from runs.readers.records import Said

#: Of one file; the rest stays on disk.
NAMED_KEPT = 100_000
LONGEST = 4096
_PATHS = {"sample_path": "sample", "checkpoint_path": "checkpoint", "output_path": "model"}
_KINDS = frozenset({"sample", "checkpoint", "model"})


@dataclass(frozen=True, slots=True)
class Named:
    """A file that a line of a log names: ``path`` is b"" where it lies outside of the root.

    A folder is ``there`` without a size.
    """

    said: Said
    kind: str
    name: str
    path: bytes
    size: int | None
    there: bool

    @property
    def index(self) -> int | None:
        """Its number among the samples of its step."""
        index = plain.whole(self.said.fields.get("sample_index", self.said.fields.get("index")))
        return index if index is not None and abs(index) < 2**31 else None


def look(file: LogFile, said: list[Said]) -> list[Named]:
    """The samples and checkpoints that these lines name, looked up on disk."""
    found = []
    for one in said:
        for kind, name in _named(one):
            path, seen = _place(file, name)
            size = seen.st_size if seen and not stat.S_ISDIR(seen.st_mode) else None
            found.append(Named(one, kind, name, path, size, seen is not None))
            if len(found) >= NAMED_KEPT:
                return found
    return found


def _named(one: Said) -> Iterator[tuple[str, str]]:
    """What a line names, by kind; a model only where the training is complete."""
    for key, kind in _PATHS.items():
        name = plain.text(one.fields.get(key), LONGEST)
        if name and (kind != "model" or one.status == "finished"):
            yield kind, name
    kind, name = (plain.text(one.fields.get(key), LONGEST) for key in ("artifact_type", "path"))
    if name and kind in _KINDS:
        yield kind, name


def _place(file: LogFile, name: str) -> tuple[bytes, os.stat_result | None]:
    """Where a named file lies below the root, and what it is; where it would lie if it is not there."""
    source, written = file.source, name.encode(errors="replace")
    if written.startswith(b"/"):
        for root in (source.root, source.real_root):
            below = os.path.relpath(os.path.normpath(written), root.encode(errors="surrogateescape")) if root else b".."
            if not below.startswith(b".."):
                return below, _seen(source.root, below)
        return b"", None
    folder = os.path.dirname(bytes(file.path))
    first = b""
    while True:
        path = os.path.normpath(os.path.join(folder, written))
        inside = path not in (b"", b".") and not path.startswith(b"..")
        if inside and (seen := _seen(source.root, path)) is not None:
            return path, seen
        first = path if inside else first
        if not folder:
            return first, None
        folder = os.path.dirname(folder)


def _seen(root: str, path: bytes) -> os.stat_result | None:
    try:
        return confined.stat_inside(root, path)
    except (OSError, ValueError):
        return None


def store(file: LogFile, generation: int, named: list[Named], jobs: dict[str, Job], external: dict[str, str]) -> None:
    """Rows of named files, each once; the last word on a path holds.

    ``external`` gives the id of a line's job.  The caller holds the run's lock.
    """
    samples: dict[bytes | str, Sample] = {}
    checkpoints: dict[str, Checkpoint] = {}
    for one in named:
        job, name = jobs[external[one.said.job]], plain.plain(masks.words(one.name))
        if one.kind == "sample":
            samples[one.path or name] = _sample(file, generation, one, job, name)
        else:
            checkpoints[name] = _checkpoint(file, one, job, name)
    _replace(file, generation, samples)
    Checkpoint.objects.bulk_create(
        checkpoints.values(), batch_size=1000, update_conflicts=True, unique_fields=["run", "said"],
        update_fields=["job", "kind", "path", "step", "size", "at", "missing"])


def _replace(file: LogFile, generation: int, samples: dict[Any, Sample]) -> None:
    """Put samples in the place of those of the same path."""
    if not samples:
        return
    mine = Sample.objects.filter(log_file=file, generation=generation)
    paths = [key for key in samples if isinstance(key, bytes)]
    mine.filter(path__in=paths).delete()
    if paths:  # a scan may have seen them first
        Sample.objects.filter(run=file.run_id, offset=-1, path__in=paths).delete()
    mine.filter(path=b"", said__in=[key for key in samples if isinstance(key, str)]).exclude(said="").delete()
    room = max(0, NAMED_KEPT - mine.count())
    Sample.objects.bulk_create(list(samples.values())[:room], batch_size=1000)


def _step(one: Named, job: Job) -> int:
    return one.said.step if one.said.step is not None else job.step or 0


def _sample(file: LogFile, generation: int, one: Named, job: Job, name: str) -> Sample:
    tag = "samples" if one.index is None else f"samples/{one.index}"
    return Sample(
        run_id=file.run_id, log_file=file, generation=generation, part=one.said.part, offset=one.said.offset, length=0,
        kind="image", tag=tag, step=_step(one, job), wall=one.said.at or 0.0, job=job, path=one.path, said=name,
        index=one.index, size=one.size)


def _checkpoint(file: LogFile, one: Named, job: Job, name: str) -> Checkpoint:
    kind = Checkpoint.Kind.MODEL if one.kind == "model" else Checkpoint.Kind.CHECKPOINT
    return Checkpoint(
        run_id=file.run_id, job=job, kind=kind, said=name, path=one.path, step=_step(one, job), size=one.size,
        at=moment(one.said.at), missing=bool(one.path) and not one.there)
