"""Event files as real writers write them, made fast.

A real writer takes 10 to 20 us a point, so ten million points would take minutes.  The
records here are put together from parts that the real protobuf classes serialized; each has
its own wall time, step, value and CRCs.  Every time a shape is made, its first 2,000 events
are also written through tensorboard's EventFileWriter, which torch.utils.tensorboard uses
too, and the bytes must be the same.
"""

from __future__ import annotations

import random
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import google_crc32c
import numpy as np

Point = tuple[float, int, list[tuple[int, float]]]
START = 1_790_000_000.0
CHECKED = 2_000


@dataclass(frozen=True, slots=True)
class Shape:
    """``events`` yields (wall time, step, [(tag's number, value), ...]) for a point count."""

    name: str
    tags: list[str]
    events: Callable[[int, int], Iterator[Point]]
    tensors: bool = False
    files: int = 1


def _walls() -> Iterator[float]:
    """A trainer's clock: a few ms between events, with jitter."""
    rng, wall = random.Random(1), START
    while True:
        for gap in (rng.random() for _ in range(1000)):
            wall += 0.0005 + gap * 0.004
            yield wall


def regular(tags: int, count: int) -> Iterator[Point]:
    rng = random.Random(2)
    for place, wall in zip(range(count), _walls(), strict=False):
        yield wall, place // tags, [(place % tags, rng.gauss(1, 0.5))]


def grouped(tags: int, count: int) -> Iterator[Point]:
    """All tags of a step in one event."""
    rng = random.Random(3)
    for step, wall in zip(range(count // tags), _walls(), strict=False):
        yield wall, step, [(tag, rng.gauss(1, 0.5)) for tag in range(tags)]


def multirate(tags: int, count: int) -> Iterator[Point]:
    """Some tags each step, others each 7, 10, 50, 100 and 1,000 steps."""
    rng, walls, rates, made, step = random.Random(4), _walls(), (1, 1, 7, 10, 50, 100, 1000), 0, 0
    while made < count:
        for tag in range(tags):
            if step % rates[tag % len(rates)] == 0 and made < count:
                yield next(walls), step, [(tag, rng.gauss(1, 0.5))]
                made += 1
        step += 1


def threaded(tags: int, count: int) -> Iterator[Point]:
    """Each tag has a thread of its own: which comes next is chance."""
    rng, steps = random.Random(5), [0] * tags
    for _, wall in zip(range(count), _walls(), strict=False):
        tag = rng.randrange(tags)
        yield wall, steps[tag], [(tag, rng.gauss(1, 0.5))]
        steps[tag] += 1


def shuffled(tags: int, count: int) -> Iterator[Point]:
    """Each step writes every tag, in another order each time."""
    rng, walls, order = random.Random(6), _walls(), list(range(tags))
    for step in range(count // tags):
        rng.shuffle(order)
        for tag in order:
            yield next(walls), step, [(tag, rng.gauss(1, 0.5))]


def _named(count: int) -> list[str]:
    words = ["train/loss", "train/accuracy", "val/loss", "lr", "grad_norm", "throughput/samples",
             "gpu0/memory_allocated", "time/step_seconds"]
    return [f"{words[n % len(words)]}_{n // len(words)}" if n >= len(words) else words[n]
            for n in range(count)]


SHAPES = {shape.name: shape for shape in (
    Shape("torch", _named(20), regular),
    Shape("tf.summary", _named(20), regular, tensors=True),
    Shape("20 values an event", _named(20), grouped),
    Shape("one tag a file", _named(1), regular, files=20),
    Shape("multirate", _named(14), multirate),
    Shape("threaded", _named(20), threaded),
    Shape("random order", _named(20), shuffled),
    Shape("1,000 tags", _named(1000), regular),
)}


def make(name: str, count: int, folder: Path) -> Path:
    """A log directory that holds ``count`` points of a shape; kept once made."""
    shape = SHAPES[name]
    logdir = folder / f"{name.replace(' ', '_')}-{count}"
    if logdir.exists():
        return logdir
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as made:
        _check_against_writer(shape, Path(made))
        for number in range(shape.files):
            run = Path(made) / "done" / f"run{number}"
            run.mkdir(parents=True)
            with open(run / f"events.out.tfevents.{int(START)}.host.1.{number}", "wb") as file:
                file.writelines(records(shape, count // shape.files))
        shutil.move(Path(made) / "done", logdir)
    return logdir


def event_proto(shape: Shape, point: Point, first: bool):  # type: ignore[no-untyped-def]
    """The Event a real writer serializes, as torch or tf.summary builds it."""
    from tensorboard.compat.proto import event_pb2, summary_pb2
    from tensorboard.plugins.scalar import metadata
    from tensorboard.util import tensor_util

    wall, step, values = point
    summary = summary_pb2.Summary()
    for tag, number in values:
        value = summary.value.add(tag=shape.tags[tag])
        if not shape.tensors:
            value.simple_value = number
            continue
        value.tensor.CopyFrom(tensor_util.make_tensor_proto(np.float32(number)))
        if first:
            value.metadata.CopyFrom(metadata.create_summary_metadata("", ""))
    event = event_pb2.Event(summary=summary)
    event.wall_time = wall
    event.step = step
    return event


def records(shape: Shape, count: int) -> Iterator[bytes]:
    """A file's bytes: file_version, then each event."""
    yield framed(b"\t" + struct.pack("<d", START) + b"\x1a\x0dbrain.Event:2")
    seen: set[int] = set()
    tails: dict[tuple[int, ...], tuple[bytes, list[int]]] = {}
    for wall, step, values in shape.events(len(shape.tags), count):
        tags = tuple(tag for tag, _ in values)
        first = shape.tensors and not seen.issuperset(tags)
        if first:
            seen.update(tags)
            yield framed(event_proto(shape, (wall, step, values), True).SerializeToString())
            continue
        if tags not in tails:
            tails[tags] = _tail(shape, values)
        raw, places = tails[tags]
        if len(places) == 1:
            tail = raw[: places[0]] + struct.pack("<f", values[0][1]) + raw[places[0] + 4 :]
        else:
            patched = bytearray(raw)
            for place, (_, value) in zip(places, values, strict=True):
                struct.pack_into("<f", patched, place, value)
            tail = bytes(patched)
        head = b"\t" + struct.pack("<d", wall)
        yield framed(head + (b"\x10" + _varint(step) if step else b"") + tail)


def _tail(shape: Shape, values: list[tuple[int, float]]) -> tuple[bytes, list[int]]:
    """An event's bytes behind its step, and where its values stand in them."""
    marks = [struct.unpack("<f", struct.pack("<I", 0x40A1B200 + n))[0] for n in range(len(values))]
    point = (1.0, 0, [(tag, mark) for (tag, _), mark in zip(values, marks, strict=True)])
    raw = event_proto(shape, point, False).SerializeToString()[9:]
    return raw, [raw.index(struct.pack("<f", mark)) for mark in marks]


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def framed(payload: bytes) -> bytes:
    size = struct.pack("<Q", len(payload))
    return size + _masked(size) + payload + _masked(payload)


def _masked(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _check_against_writer(shape: Shape, folder: Path) -> None:
    """The first events, through tensorboard's own writer, are the same bytes."""
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(folder / "real"))
    seen: set[int] = set()
    for point in shape.events(len(shape.tags), CHECKED):
        tags = {tag for tag, _ in point[2]}
        writer.add_event(event_proto(shape, point, not seen >= tags))
        seen |= tags
    writer.close()
    (real,) = (folder / "real").iterdir()
    made = b"".join(list(records(shape, CHECKED))[1:])
    if real.read_bytes()[-len(made):] != made:
        raise AssertionError(f"{shape.name}: not what the real writer wrote")
