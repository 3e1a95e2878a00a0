"""Status is derived, reversible, and carries its reason (promise P5)."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from runs.models import Run, Source
from runs.status import Evidence, budget, duration, judge
from tests.runs.trees import synced, write

NOW = 1_800_000_000.0
DAY = 86_400.0
STEADY = [(NOW - 60 + 4 * n, n) for n in range(16)]


def silent(seconds: float, **more) -> Evidence:
    arrivals = [NOW - seconds - 8, NOW - seconds - 4, NOW - seconds]
    return Evidence(last_arrival=NOW - seconds, arrivals=arrivals, steps=STEADY, **more)


def test_a_run_whose_data_arrives_is_running():
    verdict = judge(silent(5), NOW)
    assert (verdict.status, verdict.stalled) == ("running", False)


def test_an_event_file_that_falls_silent_is_unknown_with_the_silence_in_words_never_finished():
    verdict = judge(silent(552), NOW)
    assert verdict.status == "unknown"
    assert verdict.reason == "no end written: no step for 9 m 12 s, median step 4 s"


def test_a_job_that_falls_silent_is_first_stalled_then_lost():
    said = {"said": "running", "has_job": True}
    assert judge(silent(100, **said), NOW).stalled
    assert judge(silent(4 * 90 + 1, **said), NOW).status == "lost"


def test_a_verdict_by_silence_is_taken_back_when_data_returns():
    assert judge(silent(100_000), NOW).status == "unknown"
    assert judge(silent(1), NOW).status == "running"


def test_its_own_last_word_is_stronger_than_fresh_bytes():
    verdict = judge(silent(1, said="failed", said_by="its log", said_reason="CUDA out of memory"), NOW)
    assert (verdict.status, verdict.reason) == ("failed", "CUDA out of memory")


def test_the_budget_is_the_slowest_of_the_rules():
    slow_steps = [(0, 0), (100, 1), (150, 2)]
    assert budget(Evidence(steps=slow_steps, arrivals=[1, 2, 3])) == 600
    assert budget(Evidence(arrivals=[0, 200, 210])) == 600
    assert budget(Evidence(arrivals=[0, 1, 2])) == 90
    assert budget(Evidence(arrivals=[0])) == 300


def test_a_clock_that_went_back_does_not_break_the_budget():
    assert budget(Evidence(steps=[(100, 0), (50, 1), (60, 2)], arrivals=[1, 2, 3])) == 90


def test_a_queued_job_without_points_is_queued():
    assert judge(Evidence(said="queued", last_arrival=NOW, said_by="its log"), NOW).status == "queued"


def test_an_mtime_in_the_future_is_no_silence():
    assert judge(silent(-1000), NOW).status == "running"


def test_durations_in_words():
    words = [duration(s) for s in (0.43, 12, 552, 3840, 273_600, 604_800)]
    assert words == ["0.43 s", "12 s", "9 m 12 s", "1 h 04 m", "3 d 4 h", "7 d"]


def arrive(path: Path, content: bytes, age: float) -> None:
    """Its bytes came so many seconds ago."""
    path.write_bytes(content)
    os.utime(path, (time.time() - age,) * 2)


@pytest.mark.django_db
def test_the_pause_between_two_attempts_is_no_budget_of_silence(tmp_path):
    now = time.time()
    for age in (30 * DAY, DAY):
        path = write(tmp_path / "run", ("loss",), wall=now - age - 60)
        arrive(path, path.read_bytes(), age)
    synced(tmp_path)
    assert Run.objects.get().status == "unknown"


@pytest.mark.django_db
def test_a_run_that_ended_while_nobody_looked_is_not_taken_for_running(tmp_path):
    path = write(tmp_path / "run", ("loss",), wall=time.time() - DAY - 60)
    data = path.read_bytes()
    arrive(path, data[:-300], DAY)
    synced(tmp_path)
    Source.objects.update(last_synced=datetime.fromtimestamp(time.time() - 0.9 * DAY, UTC))
    arrive(path, data, 3600)
    synced(tmp_path)
    assert Run.objects.get().status == "unknown"
