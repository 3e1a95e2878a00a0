"""How much memory a command and all its children take together."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

#: Seconds between two looks; a look takes about a millisecond a process.
PAUSE = 0.01


def peak_of(command: Sequence[str], env: dict[str, str]) -> float:
    """Peak of the summed PSS of the process tree, in MB (shared pages count once).

    Looking slows the command down: don't time it in the same run.
    """
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
    peak = 0.0
    watched = psutil.Process(process.pid)
    try:
        while process.poll() is None:
            peak = max(peak, _now(watched))
            time.sleep(PAUSE)
    finally:
        process.kill()
        process.wait()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return peak


def _now(top: psutil.Process) -> float:
    total = 0
    try:
        tree = [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0.0
    for one in tree:
        try:
            for line in Path(f"/proc/{one.pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total / 1e6
