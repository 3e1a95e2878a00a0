"""A running worker for benchmarks: Django loaded, sources synced as the Celery task does.

Answers each line of its input, a source's id, with one JSON line.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.database import ROOT


class Worker:
    """Our end of the worker's pipe."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def sync(self, source_id: int) -> dict[str, Any]:
        """Sync a source: what came of it, and ``taken``, the seconds that the call took."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{source_id}\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


@contextmanager
def running(env: dict[str, str]) -> Iterator[Worker]:
    """A worker on the database of ``env``; ended at the end."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.worker"], cwd=ROOT, env=env, text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        yield Worker(process)
    finally:
        assert process.stdin
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()


def serve() -> None:
    """Sync what is asked for until the input ends."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trainmon.settings")
    import dataclasses

    import django

    django.setup()
    from django.db import connections

    from runs.sync import sync

    for line in sys.stdin:
        began = time.monotonic()
        outcome = sync(int(line))
        taken = time.monotonic() - began
        # as Celery does after each task
        connections.close_all()
        print(json.dumps({**dataclasses.asdict(outcome), "is": type(outcome).__name__, "taken": taken}), flush=True)


if __name__ == "__main__":
    serve()
