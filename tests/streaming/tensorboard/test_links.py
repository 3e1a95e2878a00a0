"""A run's page leads to that run in TensorBoard, and to no other."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from django.contrib.auth.models import User
from django.utils.timezone import now

from runs.models import Run, Source, Trainer
from runs.roles import fill_roles
from streaming.tensorboard.links import run_filter, run_url
from tests.runs.conftest import signed_in
from tests.runs.factories import make_file, make_run, make_source
from tests.runs.test_pages import text
from tests.streaming.tensorboard.boards import make_board

pytestmark = pytest.mark.django_db


@pytest.fixture
def source(lora: Trainer) -> Source:
    fill_roles()
    return make_source(lora, root="/logs/volume")


def run_at(source: Source, path: bytes, *files: bytes, **fields: object) -> Run:
    """A run with event files at these places of its source."""
    run = make_run(source, path=path, **fields)
    for file in files or (b"events.out.tfevents.1.host",):
        make_file(run, path=b"/".join(part for part in (path, file) if part))
    return run


def chosen(run: Run, *names: str) -> list[str]:
    """Which of TensorBoard's runs the link leaves, as TensorBoard looks: anywhere in the name."""
    return [name for name in names if re.search(run_filter(run), name)]


def test_of_the_runs_of_one_source_that_run_alone_is_chosen(source: Source) -> None:
    run = run_at(source, b"ds/run.1")
    assert chosen(run, "ds/run.1", "ds/run.10", "ds/runs1", "other/ds/run.1", "ds/run.1/eval") == ["ds/run.1"]


def test_the_parts_of_a_run_are_chosen_with_it(source: Source) -> None:
    run = run_at(source, b"ds/run", b"train/a.tfevents", b"eval/b.tfevents")
    assert chosen(run, "ds/run", "ds/run/train", "ds/run/eval", "ds/run/other") == ["ds/run/train", "ds/run/eval"]


def test_a_run_of_many_folders_is_named_by_its_own(source: Source) -> None:
    run = run_at(source, b"ds/run", *(b"%d/a.tfevents" % number for number in range(40)))
    assert chosen(run, "ds/run/7", "ds/run", "ds/run-2/7") == ["ds/run/7", "ds/run"]


def test_the_root_itself_is_a_point(source: Source) -> None:
    assert chosen(run_at(source, b""), ".", "a", "ds/run") == ["."]


def test_with_several_sources_the_folder_of_the_source_comes_first(source: Source, lora: Trainer) -> None:
    other = make_source(lora, root="/more/volume")
    assert chosen(run_at(source, b"run"), "run", "volume/run", "volume-2/run") == ["volume/run"]
    assert chosen(run_at(other, b"run"), "run", "volume/run", "volume-2/run") == ["volume-2/run"]


def test_signs_of_a_name_are_signs(source: Source) -> None:
    name = "a+b (c) [d] {e} ^f$ g|h \\ i*j? é"
    assert chosen(run_at(source, name.encode()), name, "a+b") == [name]
    assert "+b%20%28" not in run_url(Run.objects.get())
    assert unquote(run_url(Run.objects.get())).count("\\(c\\)") == 2


def test_what_is_masked_here_is_not_told_by_the_link(source: Source) -> None:
    """P18."""
    secret = "sk-" + "a1B2" * 12
    run = run_at(source, f"ds/{secret}/run".encode())
    assert secret not in run_url(run)
    assert chosen(run, f"ds/{secret}/run", "ds/run") == [f"ds/{secret}/run"]


def test_bytes_that_are_no_text_stand_for_any_name(source: Source) -> None:
    assert chosen(run_at(source, b"caf\xe9/run"), "caf\ufffd/run", "run") == ["caf\ufffd/run"]


def test_where_time_series_ticks_no_run_scalars_is_opened(source: Source, lora: Trainer) -> None:
    run = run_at(source, b"run")
    assert run_url(run, make_board(lora)) == "/tensorboard/lora/?runFilter=%5Erun%24#timeseries&regexInput=%5Erun%24"
    lora.tensorboard.runs_served = 501
    assert "#scalars&regexInput=%5Erun%24" in run_url(run, lora.tensorboard)


def test_the_run_page_links_to_it_and_frames_it_on_demand(source: Source, lora: Trainer, alice: User) -> None:
    """AFS-59."""
    make_board(lora)
    run = run_at(source, b"ds/run")
    answer = signed_in(alice).get(f"/runs/{run.pk}/tensorboard/")
    page = answer.content.decode()
    assert page.count("/tensorboard/lora/?runFilter=%5Eds%2Frun%24#timeseries") == 2
    assert 'loading="lazy"' in page and 'sandbox="allow-scripts allow-same-origin allow-downloads"' in page
    assert "frame-src 'self'" in answer["Content-Security-Policy"]
    assert "frame-src" not in signed_in(alice).get(run.get_absolute_url())["Content-Security-Policy"]
    assert f"/runs/{run.pk}/tensorboard/" in signed_in(alice).get(run.get_absolute_url()).content.decode()


def test_the_tab_says_why_there_is_nothing_to_open(source: Source, lora: Trainer, alice: User, settings: object) -> None:
    run = make_run(source)
    make_file(run, "job.jsonl", kind="jsonl")
    tab = f"/runs/{run.pk}/tensorboard/"
    assert "This run has no event file" in text(signed_in(alice), tab)
    Source.objects.update(enabled=False)
    assert "its source: it is disabled" in text(signed_in(alice), tab)
    settings.TRAINMON_VIEWERS_RAW = False  # type: ignore[attr-defined]
    assert "Operators may open it" in text(signed_in(alice), tab)


def test_the_tab_tells_what_tensorboard_hides_of_this_run(source: Source, alice: User) -> None:
    run = run_at(source, b"run")
    make_board(source.trainer)
    run.log_files.update(generation=2, replaced=now())
    assert "TensorBoard shows less of this run than these pages." in text(signed_in(alice), f"/runs/{run.pk}/tensorboard/")


def test_a_stranger_finds_no_such_tab(source: Source, charlie: User) -> None:
    run = run_at(source, b"run")
    assert signed_in(charlie).get(f"/runs/{run.pk}/tensorboard/").status_code == 404
