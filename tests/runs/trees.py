"""Log trees as real writers make them, and a source's whole registry as one comparable value."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import time
import wave
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from django.db.models import Model
from PIL import Image
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboardX import SummaryWriter

from runs import logchunks
from runs.chunks import unpack
from runs.models import (
    Checkpoint,
    Event,
    Job,
    LogChunk,
    LogFile,
    Run,
    Sample,
    Segment,
    Series,
    SeriesChunk,
    SeriesTail,
    Source,
    TextSummary,
)
from runs.scan import Failed, Options, Synced
from runs.sources import register
from runs.sync import sync

Registry = dict[str, Any]
WALL = 1_700_000_000.0


def scalar(tag: str, value: float) -> summary_pb2.Summary.Value:
    return summary_pb2.Summary.Value(tag=tag, simple_value=value)


def write(folder: Path, tags: int | tuple[str, ...] = 2, steps: int = 20, *, start: int = 0, wall: float = WALL) -> Path:
    """An event file of a training loop, by TensorBoard's own writer; returns its path."""
    names = tags if isinstance(tags, tuple) else tuple(f"tag{number}" for number in range(tags))
    writer = EventFileWriter(str(folder))
    for step in range(start, start + steps):
        values = [scalar(tag, step * 0.25 + place) for place, tag in enumerate(names)]
        made = event_pb2.Event(step=step, wall_time=wall + step, summary=summary_pb2.Summary(value=values))
        writer.add_event(made)
    writer.close()
    return newest(folder)


def newest(folder: Path) -> Path:
    """The event file that was made last in a folder."""
    return max(folder.glob("*tfevents*"), key=lambda path: (path.stat().st_mtime_ns, path.name))


def write_x(folder: Path, tag: str = "loss", steps: int = 20, *, wall: float = WALL) -> Path:
    """The same by tensorboardX, one tag."""
    with SummaryWriter(str(folder)) as writer:
        for step in range(steps):
            writer.add_scalar(tag, step * 0.5, step, walltime=wall + step)
    return newest(folder)


def job_log(path: Path, job: str = "job-1", steps: int = 10, *, end: bool = True, start: int = 0, **first: Any) -> Path:
    """A job's log of JSON lines: a start, steps, and its end."""
    def line(event: str, at: float, **fields: Any) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(WALL + at))
        return json.dumps({"ts": stamp, "level": "INFO", "service": "worker", "job_id": job, "msg": event,
                           "event": event, "fields": fields}) + "\n"

    lines = [line("training.start", start, **({"config": {"lr": 0.1}, "total_steps": 100} | first))] if not start else []
    lines += [line("training.step", step, step=step, loss=1 / (step + 1)) for step in range(start, start + steps)]
    lines += [line("training.complete", start + steps)] if end else []
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write("".join(lines))
    return path


def settle(root: Path, age: float = 60.0) -> None:
    """Make the files old enough that their times can be trusted."""
    then = time.time() - age
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            os.utime(path, (then, then))


def copy(root: Path, to: Path) -> Path:
    """An equal tree elsewhere, times included."""
    return Path(shutil.copytree(root, to, symlinks=True))


def source_of(root: Path, slug: str = "t") -> Source:
    return register(f"{slug}={root}")


def outcome_of(root: Path, slug: str = "t", **options: Any) -> Synced | Failed:
    """Sync a folder in this process."""
    done = sync(source_of(root, slug).pk, Options(**options), isolate="here")
    assert isinstance(done, Synced | Failed), done
    return done


def synced(root: Path, slug: str = "t", **options: Any) -> Synced:
    done = outcome_of(root, slug, **options)
    assert isinstance(done, Synced), done
    return done


def registry(source: Source) -> Registry:
    """All that is registered of a source, without ids and without the times when we saw it."""
    return {
        "runs": _rows(Run, source, "path", "name", "dataset__name", "status", "files_missing", "step", "total_steps",
                      "epoch", "stage", "started", "last_event", "size", "file_count", "event_file_count",
                      "point_count", "warnings", "host", "pid", "params", "param_sources", "error", "error_type"),
        "files": _rows(LogFile, source, "path", "run__path", "prefix", "kind", "offset", "generation", "reading",
                       "records", "points", "bad_records", "lost_bytes", "damages", "error", "missing",
                       "first_wall", "last_wall"),
        "segments": _rows(Segment, source, "run__path", "log_file__path", "generation", "part", "reason", "offset",
                          "first_step", "last_step", "first_wall", "last_wall"),
        "summaries": _rows(Series, source, "run__path", "tag__name", "count", "first_step", "last_step", "last",
                           "last_wall", "minimum", "maximum", "nonfinite"),
        "texts": _rows(TextSummary, source, "run__path", "log_file__path", "generation", "part", "offset", "tag",
                       "step", "wall", "text", "truncated"),
        "samples": _rows(Sample, source, "run__path", "log_file__path", "generation", "part", "offset", "length",
                         "kind", "tag", "step", "wall"),
        "jobs": _rows(Job, source, "external_id", "run__path", "status", "word", "stage", "message", "step",
                      "total_steps", "epoch", "error", "started", "ended", "last_event"),
        "events": _rows(Event, source, "run__path", "job__external_id", "log_file__path", "generation", "offset",
                        "at", "level", "kind", "message", "fields"),
        "figures": _rows(Job, source, "external_id", "run__path", "loss", "lr", "speed", "eta_seconds", "gpus", "bars", "stages",
                         "config", "correlation_id", "line_count", "last_line"),
        "checkpoints": _rows(Checkpoint, source, "run__path", "job__external_id", "kind", "said", "path", "step", "size", "at"),
        "lines": lines(source),
        "points": points(source),
    }


def same(one: Registry, other: Registry) -> bool:
    """Compare two registries; says which rows differ, not only that some do."""
    differing = []
    for name in one:
        a, b = (set(kept.items()) if isinstance(kept, dict) else set(kept) for kept in (one[name], other[name]))
        differing += [f"{name}: {mark} {row}" for mark, rows in (("-", a - b), ("+", b - a)) for row in sorted(rows)]
    assert not differing, "\n".join(differing[:20])
    return one == other


def _rows(model: type[Model], source: Source, *fields: str) -> list[tuple[str, ...]]:
    where = "source" if any(field.name == "source" for field in model._meta.get_fields()) else "run__source"
    rows = model._default_manager.filter(**{where: source}).order_by().values_list(*fields)
    # by repr: NaN equals NaN then, and 1.0 is not 1
    return sorted(tuple(repr(bytes(v) if isinstance(v, memoryview) else v) for v in row) for row in rows)


def lines(source: Source) -> dict[Where, tuple[int, str]]:
    """Every kept line, by (run, job, file, generation): count and digest, whatever chunks they stand in."""
    rows = LogChunk.objects.filter(job__source=source).order_by("start").values_list(
        "job__run__path", "job__external_id", "log_file__path", "generation", "start", "count", "data")
    kept: dict[Where, bytes] = defaultdict(bytes)
    for run, job, path, generation, start, count, data in rows:
        where = (bytes(run), job, bytes(path), generation, 0)
        assert kept[where].count(b"\n") == start, f"lines before {start} of {job} are missing or stored twice"
        kept[where] += logchunks.unpack(data)
        assert kept[where].count(b"\n") == start + count
    return {where: (text.count(b"\n"), hashlib.sha256(text).hexdigest()) for where, text in sorted(kept.items())}


Where = tuple[bytes, str, bytes, int, int]


def points(source: Source) -> dict[Where, tuple[int, str]]:
    """Every bit of every point, by (run, tag, file, generation, part): count and digest."""
    paths = {pk: bytes(path) for pk, path in LogFile.objects.filter(source=source).values_list("pk", "path")}
    pieces: dict[Where, list[tuple[int, bytes]]] = defaultdict(list)
    for model in (SeriesChunk, SeriesTail):
        for row in model._default_manager.filter(series__run__source=source).order_by().values_list(
                "series__run__path", "series__tag__name", "log_file_id", "generation", "part", "start", "data"):
            pieces[(bytes(row[0]), row[1], paths[row[2]], row[3], row[4])].append((row[5], bytes(row[6])))
    return {where: _digest(found) for where, found in sorted(pieces.items())}


def _digest(pieces: list[tuple[int, bytes]]) -> tuple[int, str]:
    digest, count = hashlib.sha256(), 0
    for start, data in sorted(pieces):
        assert start == count, f"points {count} to {start} are missing or stored twice"
        steps, walls, values = unpack(data)
        rows = zip(steps.tolist(), walls.view("<u8").tolist(), values, strict=True)
        digest.update(b"".join(b"%d %d %s %s\n" % (s, w, v.dtype.str.encode(), v.tobytes()) for s, w, v in rows))
        count += len(steps)
    return count, digest.hexdigest()


def point_count(root: Path) -> int:
    """Scalars in all event files of a tree, as TensorBoard's own protobuf reads them."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader

    total = 0
    for path in root.rglob("*tfevents*"):
        for raw in RawEventFileLoader(str(path)).Load():
            total += len(event_pb2.Event.FromString(raw).summary.value)
    return total


def grow(path: Path, content: bytes) -> None:
    """Append to a file, as a writer that flushed."""
    with path.open("ab") as file:
        file.write(content)


def columns(steps: list[int], values: Any, walls: Any = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    walls = WALL + np.arange(len(steps)) if walls is None else walls
    return np.array(steps, "<i8"), np.array(walls, "<f8"), np.asarray(values)


def varied_tree(root: Path, times: int = 10) -> Path:
    """Runs of every kind, each several times: long, of two files, restarted, damaged, with a job."""
    write(root / "ds" / "long-0", 5, 2500)
    write(root / "ds" / "two-0", 3, 150)
    write(root / "ds" / "two-0", 3, 150, start=100)
    restarted = write(root / "ds" / "restarted-0", 3, 200)
    grow(restarted, write(root / "aside", 3, 100, start=120).read_bytes())
    damaged = write(root / "damaged-0", 2, 200)
    data = bytearray(damaged.read_bytes())
    data[len(data) // 3] ^= 0xFF
    damaged.write_bytes(data)
    job_log(root / "ds" / "two-0" / "job.jsonl", steps=60)
    job_log(root / "logs" / "night-0.jsonl", job="night", steps=200)
    (root / "ds" / "two-0" / "train.log").write_text(printed(0, 150))
    shutil.rmtree(root / "aside")
    for made in [*root.glob("*-0"), *root.glob("ds/*-0")]:
        for number in range(1, times):
            shutil.copytree(made, made.with_name(f"{made.name[:-1]}{number}"))
    settle(root, 86_400)  # silent for long: how they stand does not change while we test
    return root


def printed(start: int, steps: int) -> str:
    """What a trainer prints."""
    lines = (f"2026-01-14T14:{step // 60:02d}:{step % 60:02d} [INFO] Step {step}/500 loss={step / 7:.3f}\n"
             for step in range(start, start + steps))
    return "".join(lines) + "Traceback (most recent call last):\n  File \"a.py\", line 1\nValueError: token=abcdef123456\n"


def grown_tree(root: Path, to: Path) -> Path:
    """The same tree later: files have grown, one was replaced, runs were added, renamed and deleted."""
    copy(root, to)
    for path in [*to.glob("ds/long-*/*"), *to.glob("damaged-*/*")]:
        grow(path, write(to / "aside", 4, 60, start=2500).read_bytes())
    for path in to.glob("ds/restarted-*/*"):
        path.write_bytes(write(to / "aside", 2, 30, wall=WALL + 1e6).read_bytes())
    job_log(to / "logs" / "night-0.jsonl", job="night", start=200, steps=50)
    for path in to.glob("ds/two-*/train.log"):
        path.write_text(path.read_text() + printed(150, 100))
    shutil.copytree(to / "aside", to / "new")
    shutil.rmtree(to / "aside")
    (to / "ds" / "two-1").rename(to / "ds" / "renamed")
    shutil.rmtree(to / "ds" / "two-2")
    settle(to, 86_000)
    return to


def linked(root: Path, to: Path) -> Path:
    """An equal tree of hard links: as quick as it gets."""
    return Path(shutil.copytree(root, to, copy_function=os.link))


def exchange(root: Path, later: Path) -> None:
    """Make the tree at ``root`` what ``later`` is, in one rename."""
    shutil.rmtree(root)
    linked(later, root)


def media(tag: str, data: bytes, kind: str = "image") -> summary_pb2.Summary.Value:
    """An image or sound as TensorBoard's first version writes it."""
    if kind == "audio":
        return summary_pb2.Summary.Value(tag=tag, audio=summary_pb2.Summary.Audio(encoded_audio_string=data))
    return summary_pb2.Summary.Value(tag=tag, image=summary_pb2.Summary.Image(encoded_image_string=data))


def tensors(tag: str, plugin: str, strings: list[bytes], shape: list[int]) -> summary_pb2.Summary.Value:
    """Images or sounds as its second version writes them: a tensor of strings."""
    dims = [TensorShapeProto.Dim(size=size) for size in shape]
    made = TensorProto(dtype=7, string_val=strings, tensor_shape=TensorShapeProto(dim=dims))
    about = summary_pb2.SummaryMetadata(plugin_data=summary_pb2.SummaryMetadata.PluginData(plugin_name=plugin))
    return summary_pb2.Summary.Value(tag=tag, tensor=made, metadata=about)


def write_values(folder: Path, *records: summary_pb2.Summary.Value | list[summary_pb2.Summary.Value], step: int = 1) -> Path:
    """An event file with a record for each value or list of values, by TensorBoard's own writer."""
    writer = EventFileWriter(str(folder))
    for place, record in enumerate(records):
        values = record if isinstance(record, list) else [record]
        writer.add_event(event_pb2.Event(step=step, wall_time=WALL + place, summary=summary_pb2.Summary(value=values)))
    writer.close()
    return newest(folder)


def picture(kind: str = "PNG", colour: tuple[int, int, int] = (255, 0, 0)) -> bytes:
    """A small picture in one of the formats that browsers draw."""
    data = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(data, kind)
    return data.getvalue()


def sound(seconds: float = 0.1) -> bytes:
    """A WAV file of silence."""
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(int(16000 * seconds)))
    return data.getvalue()
