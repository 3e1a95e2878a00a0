"""The processes of one TensorBoard: which it is, whether its data server lives, how much memory all of them take."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Process:
    """A process, as /proc/PID/stat tells it to everybody."""

    pid: int
    depth: int
    zombie: bool
    halted: bool
    resident: int


def tree(pid: int, depth: int = 0) -> Iterator[Process]:
    """A process and all below it; those that end meanwhile are not told."""
    try:
        said = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(") ")[2].split()
        children = "".join(path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")).split()
    except OSError:
        return
    yield Process(pid, depth, said[0] in "ZX", said[0] == "T", int(said[21]) * PAGE)
    for child in children:
        yield from tree(int(child), depth + 1)


def memory(processes: list[Process]) -> int:
    """Bytes of all together, what they share counted once where the kernel lets us ask."""
    return sum(proportional(process.pid) or process.resident for process in processes)


def proportional(pid: int) -> int:
    """Its proportional set size in bytes; 0 where that is not ours to see."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
