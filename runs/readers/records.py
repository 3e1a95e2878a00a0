"""What every reader returns: the shared vocabulary between a file and the registry.

A reader is a function ``read(fd, state, limit) -> Block``.  It reads at most about
``limit`` bytes from ``state.offset`` on, and the returned ``Block.state`` is where the
next call goes on: the offset of a record's first byte, never its middle.  A block and its
state are committed together, so a crash between two blocks repeats nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

#: Default bound on the input of one block, in bytes: bounds memory and transaction size.
BLOCK_BYTES = 8 * 1024 * 1024
#: A line of a log is kept as it was written up to so many bytes.
LINE_KEPT = 64 * 1024


@dataclass(slots=True)
class Points:
    """Scalars of one tag in one part of one file, in file order.

    ``steps`` is int64, ``walls`` float64 (Unix seconds), ``values`` has the dtype that
    was written (``<f4`` for simple_value, ``<f2 <f8 <i4 <i8 <u8 ...`` for tensors; bfloat16
    is widened to ``<f4`` bit by bit).  The three arrays have the same length, at least 1.
    ``job`` is the job that a log line names, "" for the file's own.
    """

    tag: str
    part: int
    steps: np.ndarray
    walls: np.ndarray
    values: np.ndarray
    job: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """Where a new part of a file begins: an attempt of the trainer.

    ``reason`` is "start" (the file's first record), "session" (SessionLog.START) or
    "steps went back"; then ``tag``, ``step`` and ``before`` (the smallest of that tag's
    last 64 steps) say which.  ``offset`` is the byte where its first record begins.
    ``job`` is as in Points: a part of one job ends no other job's part.
    """

    number: int
    reason: str
    offset: int
    tag: str = ""
    step: int | None = None
    before: int | None = None
    job: str = ""


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes of a file that could not be read as records.

    ``kind`` is "payload crc", "length crc", "not a record" or "too large"; ``length`` is
    the number of bytes passed over.
    """

    offset: int
    length: int
    kind: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """A text summary: its strings stay with us (the caller redacts them)."""

    tag: str
    part: int
    step: int
    wall: float
    text: str
    offset: int
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Blob:
    """A summary whose payload stays on disk: image, audio, histogram, graph, other tensor.

    ``offset`` and ``length`` are those of the whole record (framing included).
    """

    tag: str
    part: int
    step: int
    wall: float
    kind: str
    plugin: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class HParams:
    """What the hparams plugin keeps in summary metadata.

    ``kind`` is "experiment", "session start" or "session end".  ``values`` holds the
    hyperparameters of a session start; ``status`` the plugin's word of a session end
    (success, failure, running, unknown); ``wall`` the plugin's own time in seconds.
    """

    kind: str
    wall: float
    values: dict[str, Any] = field(default_factory=dict)
    status: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class Figures:
    """The newest figures of a job; None where nothing was said, infinite where it is no finite number.

    ``speed`` is in steps a second: as its log says, else as measured from its steps.  ``gpus`` are
    objects of figures, each with its ``index``; ``bars`` progress bars by their id.
    """

    loss: float | None = None
    lr: float | None = None
    speed: float | None = None
    gpus: list[dict[str, Any]] = field(default_factory=list)
    bars: dict[str, dict[str, Any]] = field(default_factory=dict)
    correlation_id: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """What a log line says about its job, beside scalars: the state after that line.

    ``at`` is Unix seconds from the record.  Fields that the record does not hold are None.
    ``status`` is one of queued, running, finished, failed, killed (mapped from the
    source's word, which is in ``word``).  ``since`` is when it became so, where that was an earlier line.
    """

    offset: int
    at: float | None
    event: str
    level: str
    message: str
    job: str = ""
    status: str | None = None
    word: str = ""
    stage: str | None = None
    step: int | None = None
    total_steps: int | None = None
    epoch: float | None = None
    eta_seconds: float | None = None
    error: str | None = None
    error_type: str | None = None
    error_stack: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    figures: Figures | None = None
    part: int = 0
    since: float | None = None


@dataclass(slots=True)
class Lines:
    """Lines of one job that are kept, in file order: four columns of the same length.

    ``raws`` are JSON objects as they were written; what is no strict JSON, and a line of more than
    ``LINE_KEPT`` bytes, is written anew, bounded.  ``walls`` are Unix seconds or None.
    """

    raws: list[bytes] = field(default_factory=list)
    walls: list[float | None] = field(default_factory=list)
    levels: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)

    def add(self, raw: bytes, wall: float | None, level: str, event: str) -> None:
        """One line more."""
        self.raws.append(raw)
        self.walls.append(wall)
        self.levels.append(level)
        self.events.append(event)


#: Which of these (event_id, offset) were counted before: the offsets of the lines to pass over.
Known = Callable[[list[tuple[str, int]]], set[int]]


class State(Protocol):
    """Where a reader goes on.  Small, and the same whatever the sizes of earlier blocks."""

    offset: int
    part: int

    def dump(self) -> bytes: ...


@dataclass(slots=True)
class Block:
    """What one call of a reader found, and the state after it."""

    state: Any
    points: list[Points] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)
    blobs: list[Blob] = field(default_factory=list)
    hparams: list[HParams] = field(default_factory=list)
    said: list[Said] = field(default_factory=list)
    #: Lines to keep, by the job's name ("" for the file's own).
    lines: dict[str, Lines] = field(default_factory=dict)
    #: (event_id, offset) of the lines that carry one and were counted.
    event_ids: list[tuple[str, int]] = field(default_factory=list)
    damages: list[Damage] = field(default_factory=list)
    #: Bytes at the file's end that are lost so far: a Damage once a record follows them.
    pending: Damage | None = None
    records: int = 0
    bytes_read: int = 0
    first_wall: float | None = None
    last_wall: float | None = None
    at_end: bool = False


class TooMuch(Exception):
    """A file goes beyond a limit (tags, record length): its run is marked, others go on."""
