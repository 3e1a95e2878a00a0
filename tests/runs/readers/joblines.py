"""Lines of job logs for the tests, and how blocks are put together again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from runs.readers import jsonl
from runs.readers.records import Block, Said

AT = "2025-12-30T10:30:00.123Z"
WALL = 1767090600.123


def line(event: str = "", job: str = "train-1", ts: object = AT, level: str = "INFO", **fields: Any) -> bytes:
    """A line of an Isengard job log."""
    record = {"ts": ts, "level": level, "service": "worker", "job_id": job, "msg": f"{event}!"}
    return json.dumps({**record, "event": event, "fields": fields}).encode() + b"\n"


def step(number: int | None, job: str = "train-1", **fields: Any) -> bytes:
    """A training.step; loss is a tenth of the step unless named."""
    if number is not None:
        fields = {"step": number, "total_steps": 1000, "loss": number / 10, **fields}
    return line("training.step", job, level="DEBUG", **fields)


def progress(number: int, status: str = "running", stage: str = "training", **rest: Any) -> bytes:
    """A TrainingProgressEvent."""
    record = {"job_id": "train-1", "status": status, "stage": stage, "step": number, "steps_total": 100,
              "progress_pct": float(number), "message": "m", "timestamp": AT, **rest}  # fmt: skip
    return json.dumps(record).encode() + b"\n"


@contextmanager
def opened(folder: Path, data: bytes) -> Iterator[int]:
    """A file with these bytes, open for reading."""
    path = folder / "log.jsonl"
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


def blocks(fd: int, state: jsonl.State | None = None, limits: Iterator[int] | None = None) -> list[Block]:
    """All blocks up to the end; each state goes through its dump."""
    found = []
    while True:
        block = jsonl.read(fd, state, limit=next(limits)) if limits else jsonl.read(fd, state)
        found.append(block)
        state = jsonl.State.load(block.state.dump())
        assert state == block.state
        if block.at_end:
            return found


def read(folder: Path, data: bytes) -> Block:
    """A file read at once."""
    with opened(folder, data) as fd:
        (block,) = blocks(fd)
    return block


def points(found: list[Block] | Block) -> dict[tuple[str, str, int], list[tuple[int, float]]]:
    """(job, tag, part) -> its steps and values, in file order."""
    series: dict[tuple[str, str, int], list[tuple[int, float]]] = {}
    for block in found if isinstance(found, list) else [found]:
        for one in block.points:
            assert one.steps.dtype == np.int64 and one.values.dtype == "<f8" and one.walls.dtype == np.float64
            pairs = zip(one.steps.tolist(), one.values.tolist(), strict=True)
            series.setdefault((one.job, one.tag, one.part), []).extend(pairs)
    return series


def values(block: Block, tag: str = "loss") -> list[float]:
    """The values of one tag of a file with one job and one part."""
    return [value for (_, name, _), pairs in points(block).items() if name == tag for _, value in pairs]


def essential(said: list[Said]) -> list[Said]:
    """What was said, without those "progress" that a longer block would not have said."""
    kept: list[Said] = []
    for one in sorted(said, key=lambda said: (said.job, said.offset)):
        if one.event == "progress" and kept and kept[-1].event == "progress" and kept[-1].job == one.job:
            before = kept.pop()
            if before.status:
                assert one.status is None
                object.__setattr__(one, "status", before.status)
                object.__setattr__(one, "word", before.word)
                object.__setattr__(one, "since", before.since)
        kept.append(one)
    return kept
