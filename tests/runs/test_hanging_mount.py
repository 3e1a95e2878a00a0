"""A mount that really hangs stops its own source alone, is said on it, and is followed again when it answers (`make soak`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from runs.models import Run, Source
from runs.sources import register
from tests.runs.following import following, step, until
from tests.runs.hanging import hanging, may_mount

pytestmark = [
    pytest.mark.soak, pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not may_mount(), reason="only root may mount"),
]
NAME = "events.out.tfevents.1700000000.host.1.0"


@pytest.fixture
def sources(tmp_path: Path) -> tuple[Source, Source]:
    """Two, with a run of one step each."""
    for name in ("hangs", "answers"):
        (tmp_path / name / "run").mkdir(parents=True)
        (tmp_path / name / "run" / NAME).write_bytes(step(0))
    return register(f"hangs={tmp_path / 'hangs'}"), register(f"answers={tmp_path / 'answers'}")


def grow(source: Source, number: int) -> None:
    """One step more, which is read within moments."""
    with (Path(source.root) / "run" / NAME).open("ab") as file:
        file.write(step(number))
    until(lambda: Run.objects.filter(source=source, point_count=2 * (number + 1)).exists(), 30)


def is_said(source: Source) -> bool:
    return Source.objects.filter(pk=source.pk, status="error", last_error__contains="may hang").exists()


@pytest.mark.parametrize("words", [[], ["--poll"]], ids=["inotify", "poll"])
def test_it_is_said_the_others_go_on_and_it_comes_back(sources: tuple[Source, Source], words: list[str]) -> None:
    hangs, answers = sources
    with following(*words, TRAINMON_SCAN_DEADLINE="3"):
        for source in sources:
            until(lambda: Run.objects.filter(source=source, point_count=2).exists(), 60)  # noqa: B023
        grow(hangs, 1)
        with hanging(Path(hangs.root)):
            grow(answers, 1)
            until(lambda: is_said(hangs), 90)
            grow(answers, 2)
        grow(hangs, 2)
        until(lambda: Source.objects.get(pk=hangs.pk).status == "ok", 90)
    assert not Run.objects.filter(files_missing=True).exists()


def test_a_follower_ends_although_a_mount_hangs(sources: tuple[Source, Source]) -> None:
    with hanging(Path(sources[0].root)), following(TRAINMON_SCAN_DEADLINE="3"):
        until(lambda: is_said(sources[0]), 60)
        grow(sources[1], 1)
    assert not Run.objects.filter(source=sources[0]).exists()
