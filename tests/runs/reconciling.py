"""Helpers for the tests of reconcile: files to plant, chunks to change, and what it then says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.scalar import metadata as scalar_metadata
from tensorboard.plugins.text import metadata as text_metadata
from tensorboard.util import tensor_util

from runs import chunks
from runs.models import Run, Series, SeriesChunk
from runs.reconcile.compare import compare
from runs.reconcile.outcome import Compared
from tests.runs.readers.event_bytes import framed
from tests.runs.trees import WALL, synced, write


def reconciled() -> Compared:
    """All runs compared; what is compared twice must be the same."""
    total = Compared()
    for pk in Run.objects.order_by("pk").values_list("pk", flat=True):
        total.add(compare(pk))
    return total


def agreed(root: Path) -> Compared:
    """Sync a tree and compare: there is no difference."""
    synced(root)
    total = reconciled()
    assert [str(one) for one in total.differences] == []
    return total


def event_file(root: Path, *records: bytes, name: str = "run/events.out.tfevents.1700000000.host.1.0") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(framed(event_pb2.Event(file_version="brain.Event:2", wall_time=WALL).SerializeToString()) +
                     b"".join(records))
    return path


def tensor_value(tag: str, value: Any, plugin: Any = None) -> summary_pb2.Summary.Value:
    """As tf.summary writes it."""
    plugin = scalar_metadata.create_summary_metadata("", "") if plugin is None else plugin
    return summary_pb2.Summary.Value(tag=tag, tensor=tensor_util.make_tensor_proto(value), metadata=plugin)


def text_value(tag: str, *texts: str) -> summary_pb2.Summary.Value:
    return tensor_value(tag, np.array([one.encode() for one in texts], object), text_metadata.create_summary_metadata("", ""))


def points_of(root: Path, tag: str = "tag0") -> Series:
    """A synced run of 300 steps and one of its series."""
    write(root / "run", 2, 300)
    synced(root)
    return Series.objects.get(tag__name=tag)


def repack(series: Series, change: Callable[[np.ndarray, np.ndarray, np.ndarray], Any], **columns: Any) -> None:
    """Change the points of a series' only chunk."""
    row = SeriesChunk.objects.get(series=series)
    changed = change(*(np.array(column) for column in chunks.unpack(bytes(row.data))))
    SeriesChunk.objects.filter(series=series).update(data=chunks.pack(*changed), count=len(changed[0]), **columns)


def found(total: Compared) -> list[tuple[str, str, int | None, str]]:
    return [(one.tag, one.what, one.position, one.theirs) for one in total.differences]
