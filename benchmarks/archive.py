"""What does an archive cost, beside `tar | zstd -3` of the same tree?

    python -m benchmarks.archive [--json] [--quick]

2 GB in 200 files, half log lines, half incompressible; both with as many threads, both until
the archive is on disk.  Ours has a SHA-256 of each file besides; then it is read again from the
disk, decompressed and compared, and restored.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from benchmarks.common import DATA, Bar, Report, options
from retention import archive
from retention.destinations import Draft, Folder, FolderDraft
from retention.files import listing, open_folder
from retention.unpacking import restore

QUESTION = "What does an archive cost, beside `tar | zstd -3` of the same tree?"
FILES, ROUNDS = 200, 3


class Clock:
    """Seconds that went by, and those of CPU of ourselves and of children that ended."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.monotonic(), _cpu()

    def read(self) -> tuple[float, float]:
        return time.monotonic() - self.wall, _cpu() - self.cpu


class Timed(Folder):
    """A folder that says when an archive was whole on disk, before it is read again."""

    @contextmanager
    def new(self, name: str) -> Iterator[Draft]:
        clock = Clock()
        with super().new(name) as draft:
            assert isinstance(draft, FolderDraft)
            settle = draft.settle

            def settled() -> IO[bytes]:
                file = settle()
                self.written = clock.read()
                return file

            draft.settle = settled  # type: ignore[method-assign]
            yield draft


def main() -> int:
    given = options(QUESTION)
    top = DATA / "archive"
    shutil.rmtree(top, ignore_errors=True)
    size = _planted(top / "root/run", 10**6 if given.quick else 10**7)
    best = [min(column) for column in zip(*(_round(top) for _ in range(ROUNDS)), strict=True)]
    report = Report(QUESTION)
    names = ("tar | zstd -3, then sync", "write, then fsync", "write, fsync, read again", "restore, fsync of each file")
    for name, (wall, cpu) in zip(names, best, strict=True):
        report.rows.append({"what": name, "MB": size // 10**6, "s": wall, "CPU s": cpu, "MB/s": size / wall / 1e6})
    peer, written, verified, _ = best
    for place, what in enumerate(("time", "CPU")):
        report.bars += [Bar(f"write, times tar | zstd, by {what}", written[place] / peer[place], 1.5),
                        Bar(f"with verification, by {what}", verified[place] / peer[place], 2.5)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    report.bars.append(Bar("MB of memory, Python and what it imports included", peak, 200))
    shutil.rmtree(top)
    return report.print(given.json)


def _round(top: Path) -> list[tuple[float, float]]:
    """(s, CPU s) of each, one after the other."""
    shutil.rmtree(top / "archive", ignore_errors=True)
    (top / "peer.tar.zst").unlink(missing_ok=True)
    peer = Clock()
    command = f"tar -cf - run | zstd -3 -T{archive.THREADS} -q -o ../peer.tar.zst && sync ../peer.tar.zst"
    subprocess.run(["sh", "-c", command], cwd=top / "root", check=True)
    times, to, ours = [peer.read()], Timed(os.fspath(top / "archive")), Clock()
    with open_folder(os.fspath(top / "root"), b"run") as fd:
        archive.write(fd, listing(fd), [], to, "run", {})
    times += [to.written, ours.read()]
    back = Clock()
    restore(to, "run", os.fspath(top / "root"), b"back")
    times.append(back.read())
    shutil.rmtree(top / "root/back")
    return times


def _planted(run: Path, each: int) -> int:
    """Files of about ``each`` bytes, every other one incompressible."""
    run.mkdir(parents=True)
    dice = random.Random(0)
    for number in range(FILES):
        if number % 2:
            content = dice.randbytes(each)
        else:
            lines = (f'{{"ts": {1.79e9 + step * 0.25:.2f}, "step": {step}, "loss": {dice.random():.6f}, "lr": 0.0001}}\n'
                     for step in range(each // 64))
            content = "".join(lines).encode()
        (run / f"file-{number:03}").write_bytes(content)
    os.sync()
    return sum(file.stat().st_size for file in run.iterdir())


def _cpu() -> float:
    own, children = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    raise SystemExit(main())
