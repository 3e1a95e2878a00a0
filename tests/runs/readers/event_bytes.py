"""Event files for the tests: records by the real protobuf classes, and ways to read them."""

from __future__ import annotations

import random
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import google_crc32c
import numpy as np
from tensorboard.compat.proto import event_pb2, summary_pb2

from runs.readers.records import Block
from runs.readers.tfevents import State, read

Found = dict[str, Any]


def masked(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def head(length: int) -> bytes:
    size = struct.pack("<Q", length)
    return size + masked(size)


def framed(payload: bytes) -> bytes:
    return head(len(payload)) + payload + masked(payload)


def event(step: int, wall: float, *values: summary_pb2.Summary.Value) -> event_pb2.Event:
    """As torch.utils.tensorboard builds it."""
    made = event_pb2.Event(summary=summary_pb2.Summary(value=values))
    made.wall_time, made.step = wall, step
    return made


def simple(tag: str, value: float) -> summary_pb2.Summary.Value:
    return summary_pb2.Summary.Value(tag=tag, simple_value=value)


def record(step: int, wall: float, *values: summary_pb2.Summary.Value) -> bytes:
    return framed(event(step, wall, *values).SerializeToString())


def scalars(steps: int, tags: int = 3, start: int = 0) -> list[bytes]:
    """Records of a regular loop, each value another."""
    return [
        record(step, 1e9 + step + tag / 8, simple(f"tag{tag}", step * 7.25 + tag))
        for step in range(start, start + steps) for tag in range(tags)
    ]


@contextmanager
def opened(data: bytes) -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        yield file.fileno()


def blocks(fd: int, limit: Callable[[], int], forget: bool = False, **options: Any) -> list[Block]:
    """All blocks up to the end; ``forget`` sends the state through its dump each time."""
    state: State | None = None
    found: list[Block] = []
    while not found or not found[-1].at_end:
        found.append(read(fd, state, limit=limit(), **options))
        state = found[-1].state
        if forget:
            state = State.load(state.dump())
        assert len(found) < 1_000_000
    return found


def joined(found: list[Block]) -> Found:
    """What must not depend on where the blocks end."""
    points: dict[tuple[str, int], list[tuple[Any, ...]]] = {}
    for block in found:
        for one in block.points:
            assert len(one.steps) == len(one.walls) == len(one.values) > 0
            points.setdefault((one.tag, one.part), []).extend(zip(
                one.steps.tolist(), (wall.tobytes() for wall in one.walls),
                (value.tobytes() for value in one.values), [one.values.dtype.str] * len(one.steps), strict=True))
    walls = [block.first_wall for block in found if block.first_wall is not None]
    lasts = [block.last_wall for block in found if block.last_wall is not None]
    lists = {name: [one for block in found for one in getattr(block, name)]
             for name in ("parts", "texts", "blobs", "hparams", "damages")}
    return {"points": points, "records": sum(block.records for block in found),
            "pending": found[-1].pending, "offset": found[-1].state.offset,
            "walls": (walls[:1], lasts[-1:]), **lists}


def whole(data: bytes, **options: Any) -> Found:
    with opened(data) as fd:
        return joined(blocks(fd, lambda: 1 << 23, **options))


def in_pieces(data: bytes, seed: int, **options: Any) -> Found:
    """The same by random limits, half of the time through a dumped state."""
    rng = random.Random(seed)
    sizes = rng.choice([[1, 60, 200], [500, 3000], [5000, 40_000], [1, 100_000]])
    with opened(data) as fd:
        return joined(blocks(fd, lambda: rng.randint(1, rng.choice(sizes)),
                             rng.random() < 0.5, **options))


def column(found: Found, tag: str, part: int = 0) -> list[tuple[int, Any]]:
    """(step, value) of a tag's points."""
    return [(step, np.frombuffer(raw, dtype)[0])
            for step, _, raw, dtype in found["points"].get((tag, part), [])]


def shape(found: Found) -> dict[tuple[str, int], int]:
    """How many points each tag has in each part."""
    return {key: len(points) for key, points in found["points"].items()}
