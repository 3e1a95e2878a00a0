"""The peer of a sync: real TensorBoard with its fast loader, from start until all is served."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import psutil

PATIENCE = 300.0
ADDRESS = re.compile(r"http://[^ ]+:\d+")
#: Runs whose last point is asked for, beside the list of all runs and tags.
ASKED = 10


def seconds_until_served(logdir: Path, runs: int, tags: int, last_step: int) -> tuple[float, float]:
    """Wall and CPU seconds until every run and tag is listed and last points are served.

    Default sampling (1,000 points a tag); the data server passes over payload CRCs.
    """
    began = time.monotonic()
    with started(logdir) as (process, address):
        while not _all_listed(listed := get(f"{address}/data/plugin/scalars/tags"), runs, tags):
            _pause(began)
        waiting = sorted(listed)[:: max(1, runs // ASKED)]
        while waiting:
            tag = max(listed[waiting[-1]])
            query = urlencode({"run": waiting[-1], "tag": tag})
            points = get(f"{address}/data/plugin/scalars/scalars?{query}")
            if points and points[-1][1] == last_step:
                waiting.pop()
            else:
                _pause(began)
        taken = time.monotonic() - began
        return taken, _cpu_of_tree(process.pid)


def _all_listed(listed: Any, runs: int, tags: int) -> bool:
    return len(listed or {}) == runs and all(len(found) == tags for found in listed.values())


@contextmanager
def started(logdir: Path, *more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A TensorBoard of our own, ended with its data server."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir), "--load_fast=true", "--port", "0",
               "--host", "127.0.0.1", *more]
    with tempfile.TemporaryDirectory() as tmp:
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
                                   env={**os.environ, "TMPDIR": tmp})
        try:
            yield process, _address(process)
        finally:
            children = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            for child in children:
                child.kill()
            psutil.wait_procs(children, timeout=5)
            process.wait()


def _address(process: subprocess.Popen[str]) -> str:
    assert process.stderr
    for line in process.stderr:
        if found := ADDRESS.search(line):
            return found[0]
    raise RuntimeError("TensorBoard did not start")


def get(url: str) -> Any:
    """The JSON that it answers, None while it cannot."""
    try:
        with urlopen(url, timeout=60) as answer:
            return json.load(answer)
    except (URLError, ConnectionError):
        return None


def _pause(began: float) -> None:
    if time.monotonic() - began > PATIENCE:
        raise RuntimeError("TensorBoard did not serve its data")
    time.sleep(0.03)


def _cpu_of_tree(pid: int) -> float:
    top = psutil.Process(pid)
    times = [one.cpu_times() for one in (top, *top.children(recursive=True))]
    return sum(one.user + one.system for one in times)
