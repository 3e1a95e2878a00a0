"""The first pages: home, the list of runs, the page of a run."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from runs.models import Event, Job, Note, Run, Sample, Source, TextSummary, Trainer, Transition
from runs.query.sorting import PLAIN
from tests.runs.conftest import signed_in
from tests.runs.factories import make_file, make_full_run, make_points, make_run, make_source, make_trainer, make_user, tabs

if TYPE_CHECKING:
    from pytest_django import DjangoAssertNumQueries, Settings

pytestmark = pytest.mark.django_db
EVIL = "<script>alert(1)</script>'\"><img src=x onerror=alert(1)>"


@pytest.fixture
def client(alice: User) -> Client:
    return signed_in(alice)


@pytest.fixture
def source(lora: Trainer) -> Source:
    return make_source(lora, root="/logs/lora")


def text(client: Client, path: str, status: int = 200) -> str:
    """The page's words, without its markup."""
    answer = client.get(path)
    assert answer.status_code == status, path
    shown = re.sub(r"<svg.*?</svg>|<[^>]+>", " ", answer.content.decode(), flags=re.S)
    return html.unescape(re.sub(r"\s+", " ", shown))


def names(client: Client, query: str = "") -> list[str]:
    """The runs of the list, from above."""
    page = client.get(f"{reverse('runs')}?{query}").content.decode()
    return re.findall(r'<td class="c-name"><a [^>]*>([^<]*)<', page)


# ── the list of runs ──


def test_the_list_shows_what_is_known_of_a_run(client: Client, source: Source) -> None:
    """CH-27, CH-28: files and points are shown apart."""
    run = make_run(source, name="qwen-r16", dataset="alpaca", size=3 << 20, event_file_count=2, point_count=1234567)
    make_points(run, "train/loss", [2.0, 1.0, 0.51239])
    shown = text(client, reverse("runs"))
    for words in ("finished", "qwen-r16 alpaca", "lora", "0.5124 train/loss", "1,234,567 2 3.0 MiB", "1 h 00 m"):
        assert words in shown


def test_the_footer_equals_the_sum_of_the_rows_of_the_filter(client: Client, source: Source) -> None:
    """CH-30."""
    for number in range(120):
        make_run(source, name=f"a{number}", size=1000 + number)
    make_run(source, name="other", size=10**9)
    total = sum(1000 + number for number in range(120))
    page = client.get(reverse("runs") + "?name=a").content.decode()
    assert f'data-bytes="{total}"' in page
    assert "120 runs of this filter" in page


@pytest.mark.parametrize(("days", "css"), [(0.5, "fresh"), (3, "recent"), (8, "old")])
def test_age_is_green_yellow_or_red(client: Client, source: Source, days: float, css: str) -> None:
    """CH-31."""
    make_run(source, modified=now() - timedelta(days=days))
    assert f"age {css}" in client.get(reverse("runs")).content.decode()


def test_the_age_thresholds_are_settings_and_stand_on_the_page(client: Client, source: Source, settings: Settings) -> None:
    """CH-31."""
    settings.TRAINMON_FRESH_DAYS, settings.TRAINMON_OLD_DAYS = 2, 30
    make_run(source, modified=now() - timedelta(days=8))
    assert "age recent" in client.get(reverse("runs")).content.decode()
    assert "green under 2 d, yellow under 30 d" in text(client, reverse("runs"))


def test_the_age_of_an_empty_run_is_unknown(client: Client, source: Source) -> None:
    """CH-34."""
    make_run(source, name="empty", started=None, modified=None, status="unknown")
    page = client.get(reverse("runs")).content.decode()
    assert "age unknown" in page
    assert re.search(r'c-modified[^>]*>unknown<', page)


def test_progress_has_a_bar_only_where_the_total_is_known(client: Client, source: Source) -> None:
    """CH-70."""
    make_run(source, name="known", step=45, total_steps=100)
    assert '<rect width="45.0%"' in client.get(reverse("runs")).content.decode()
    Run.objects.update(total_steps=None)
    page = client.get(reverse("runs")).content.decode()
    assert '<span class="steps">45</span>' in page
    assert 'class="bar' not in page


def test_a_run_that_stopped_early_wears_a_badge(client: Client, source: Source) -> None:
    """CH-70."""
    run = make_run(source, step=45, total_steps=100, early_stopped=True)
    assert "early stopped" in text(client, reverse("runs"))
    assert "early stopped" in text(client, run.get_absolute_url())


def test_a_silent_run_is_shown_as_stalled(client: Client, source: Source) -> None:
    """P5."""
    run = make_run(source, status="running", stalled=True, status_reason="no step for 9 m 12 s, median step 4 s")
    assert "stalled" in text(client, reverse("runs"))
    assert "no step for 9 m 12 s, median step 4 s" in text(client, run.get_absolute_url())


def test_what_is_odd_is_marked_in_the_list(client: Client, source: Source) -> None:
    """P3, CH-34, CH-35."""
    warnings = [{"kind": "symlink", "path": "ckpt", "detail": "points outside the root"}]
    run = make_run(source, files_missing=True, bad_records=2, demo=True, warnings=warnings)
    make_file(run, error="Permission denied")
    page = client.get(reverse("runs")).content.decode()
    for mark in ("files missing", "not read", "damaged", "demo", "warning", "symlink: ckpt: points outside the root"):
        assert mark in page


def test_filters_by_trainer_dataset_status_and_name(client: Client, source: Source) -> None:
    other = make_source(make_trainer("router"))
    run = make_run(source, name="qwen-a", dataset="alpaca", status="failed")
    make_run(other, name="llama-b", status="running", stalled=True)
    assert names(client, "trainer=lora") == ["qwen-a"]
    assert names(client, f"dataset={run.dataset_id}") == ["qwen-a"]
    assert names(client, "status=failed") == ["qwen-a"]
    assert names(client, "status=stalled") == ["llama-b"]
    assert names(client, "q=LLAMA") == ["llama-b"]


@pytest.mark.parametrize(
    "query", ["trainer=nobody", "dataset=x", "dataset=99999999999999999999", "status=odd", "sort=source__root",
              "sort=password", "after=x", "limit=0", "q=%00", "trainer=%00", "q=" + "a" * 300],
)
def test_a_wrong_question_is_refused_in_words(client: Client, source: Source, query: str) -> None:
    make_run(source, name="hidden-by-error")
    shown = text(client, f"{reverse('runs')}?{query}", status=400)
    assert "This list cannot be shown" in shown
    assert "hidden-by-error" not in shown


def test_pages_follow_one_another(client: Client, source: Source) -> None:
    for number in range(51):
        make_run(source, name=f"run-{number}")
    page = client.get(reverse("runs")).content.decode()
    assert len(names(client)) == 50
    onwards = html.unescape(re.search(r'rel="next" href="\?([^"]+)"', page)[1])
    assert len(names(client, onwards)) == 1
    page = client.get(f"{reverse('runs')}?{onwards}").content.decode()
    back = html.unescape(re.search(r'rel="prev" href="\?([^"]+)"', page)[1])
    assert names(client, back) == names(client)


def test_oldest_first(client: Client, source: Source) -> None:
    """CH-29."""
    for name, days in (("new", 1), ("old", 9), ("middle", 5)):
        make_run(source, name=name, modified=now() - timedelta(days=days))
    make_run(source, name="never", modified=None)
    assert names(client, "sort=modified") == ["old", "middle", "new", "never"]
    assert names(client, "sort=-modified") == names(client) == ["new", "middle", "old", "never"]


@pytest.mark.parametrize("key", sorted(PLAIN))
def test_every_column_sorts_both_ways_and_the_missing_come_last(client: Client, source: Source, key: str) -> None:
    """CH-29."""
    router = make_source(make_trainer("router"))
    low = {"status": "running", "step": 1, "point_count": 1, "event_file_count": 1, "size": 1, "epoch": 1, "host": "a",
           "gpu_type": "A100", "total_steps": 100}
    high = {"status": "finished", "step": 9, "point_count": 9, "event_file_count": 9, "size": 9, "epoch": 9, "host": "b",
            "gpu_type": "H100", "total_steps": 100}
    early = now() - timedelta(days=9)
    a = make_run(source, name="a", dataset="a", started=early, ended=early + timedelta(seconds=1), **low)
    b = make_run(router, name="b", dataset="b", **high)
    for run, value in ((a, 0.1), (b, 0.9)):
        make_points(run, "loss", [value])
    Note.objects.create(run=b, text="the better one")
    assert names(client, f"sort={key}") == ["a", "b"]
    assert names(client, f"sort=-{key}") == ["b", "a"]


def test_a_heading_turns_the_order_and_keeps_the_filter(client: Client, source: Source) -> None:
    make_run(source, name="qwen")
    page = client.get(reverse("runs") + "?q=qwen&sort=size").content.decode()
    assert '<th scope="col" class="c-size num" aria-sort="ascending"><a href="?q=qwen&amp;sort=-size">' in page


def test_a_list_costs_the_same_queries_whatever_its_length(client: Client, source: Source) -> None:
    """P20: 50 rows with sparklines in 26 queries, six of them marks of the test's own transaction."""
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            client.get(reverse("runs"))
            return len(seen.captured_queries)

    make_points(make_run(source, dataset="d0"), "loss", [1.0, 2.0])
    one = queries()
    for number in range(60):
        make_points(make_run(source, dataset=f"d{number % 7}"), "loss", [1.0, 2.0])
    assert queries() <= one <= 26


# ── the page of a run ──


@pytest.fixture
def run(source: Source) -> Run:
    return make_full_run(source)


def test_a_run_whose_files_are_gone_keeps_its_charts(client: Client, run: Run) -> None:
    """CH-35."""
    Run.objects.update(files_missing=True)
    page = client.get(run.get_absolute_url()).content.decode()
    assert "The files of this run are gone from disk" in page
    assert page.count('<article class="card chart-card"') == 2


def test_a_figure_says_its_last_least_and_greatest_value(client: Client, run: Run) -> None:
    shown = text(client, run.get_absolute_url() + "?group=train")
    assert "train/loss 1.000 min 1.000 max 3.000 3 points" in shown
    assert "eval/loss" not in shown


def test_the_group_of_tags_without_a_prefix_can_be_chosen(client: Client, run: Run) -> None:
    make_points(run, "lr", [0.1])
    shown = text(client, run.get_absolute_url() + "?group=")
    assert "lr 0.1000" in shown
    assert "train/loss" not in shown


def test_a_card_is_shown_for_each_of_two_hundred_tags_and_no_point_is_decoded(
    client: Client, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P20."""
    run = make_run(source)
    for number in range(200):
        make_points(run, f"layers/{number:03d}", [1.0, 2.0])
    monkeypatch.setattr("runs.pieces.unpack", pytest.fail)
    page = client.get(run.get_absolute_url()).content.decode()
    assert page.count('<article class="card chart-card"') == 200
    assert 'data-tag="layers/199"' in page


def test_more_tags_than_a_page_holds_come_in_pages(client: Client, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """P20."""
    monkeypatch.setattr("runs.views.charts.CARDS_PER_PAGE", 48)
    run = make_run(source)
    for number in range(60):
        make_points(run, f"layers/{number:03d}", [1.0, 2.0])
    first = client.get(run.get_absolute_url()).content.decode()
    last = client.get(run.get_absolute_url() + "?page=2").content.decode()
    assert first.count("<article") == 48
    assert 'data-tag="layers/059"' in last
    assert 'data-tag="layers/059"' not in first


def test_without_scripts_the_server_draws_the_figures(client: Client, run: Run) -> None:
    link = client.get(run.get_absolute_url()).content.decode().split("<noscript>")[1].split("</noscript>")[0]
    assert 'href="?plain=1"' in link
    page = client.get(run.get_absolute_url() + "?plain=1").content.decode()
    assert page.count('<figure class="card plot"') == 2
    assert "run_charts.js" not in page


def test_the_page_costs_the_same_queries_whatever_its_tags(
    client: Client, run: Run, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """P20."""
    for number in range(40):
        make_points(run, f"more/{number}", [1.0, 2.0])
    with django_assert_num_queries(10):
        client.get(run.get_absolute_url())


def test_superseded_attempts_are_drawn_faintly(client: Client, source: Source) -> None:
    run = make_run(source)
    file = make_file(run)
    make_points(run, "loss", [3.0, 2.0, 1.0, 1.0], file=file)
    make_points(run, "loss", [2.0, 1.5], steps=[2, 3], file=file, part=1)
    page = client.get(run.get_absolute_url() + "?plain=1").content.decode()
    assert 'class="line w0 old"' in page
    assert "steps went back at step 2" in page


def test_a_hostile_log_runs_nothing_in_the_browser(client: Client, lora: Trainer) -> None:
    """Attacks, 'Content'."""
    Trainer.objects.update(name=EVIL)
    source = make_source(lora, root=f"/logs/{EVIL}", status="error", last_error=EVIL, problems=[{"kind": EVIL, EVIL: EVIL}])
    run = make_run(source, name=EVIL, dataset=EVIL, status="running", status_reason=EVIL, status_evidence={EVIL: EVIL},
                   error=EVIL, error_type=EVIL, error_stack=EVIL, host=EVIL, params={EVIL: {EVIL: EVIL}}, tags=[EVIL[:100]],
                   warnings=[{"kind": EVIL, "path": EVIL, "detail": EVIL}], stage=EVIL, path=EVIL.encode())
    file = make_file(run, EVIL, error=EVIL, prefix=EVIL, damages=[{"offset": 1, "length": 1, "kind": EVIL, "detail": EVIL}])
    make_points(run, EVIL, [1.0], file=file)
    make_points(run, "loss", [1.0], file=file)
    where = {"run": run, "log_file": file, "generation": 0, "part": 0, "wall": 1.0, "step": 1, "offset": 1, "tag": EVIL}
    TextSummary.objects.create(**where, text=EVIL)
    Sample.objects.create(**where, kind=EVIL[:20], length=1)
    Job.objects.create(source=source, run=run, external_id=EVIL, word=EVIL[:40], stage=EVIL, message=EVIL, error=EVIL)
    Transition.objects.create(run=run, old="running", new="lost", reason=EVIL, at=now())
    Event.objects.create(run=run, log_file=file, generation=0, offset=1, level="ERROR", kind=EVIL, message=EVIL)
    for path in (reverse("home"), reverse("runs"), reverse("runs") + f"?q={EVIL}", *tabs(run)):
        page = client.get(path).content.decode()
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "&lt;script&gt;alert" in page


def test_pages_need_no_inline_script_or_style(client: Client, run: Run) -> None:
    """So that a strict Content-Security-Policy can be set."""
    pages = [client.get(path) for path in (reverse("home"), reverse("runs"), run.get_absolute_url(), "/runs/999/")]
    pages.append(Client().get(reverse("login")))
    for answer in pages:
        page = answer.content.decode()
        assert not re.search(r"\sstyle=|<style|<script(?![^>]*\bsrc=)|\son\w+=|javascript:", page)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_shown_as_such(client: Client, source: Source, value: float) -> None:
    """P4."""
    run = make_run(source)
    make_points(run, "loss", [1.0, value])
    word = {"nan": "NaN", "inf": "Inf", "-inf": "-Inf"}[str(value)]
    assert f"{word} loss" in text(client, reverse("runs"))
    assert "1 NaN or Inf" in text(client, run.get_absolute_url())


# ── home, and everything else ──


def test_home_shows_what_runs_and_what_failed(client: Client, source: Source) -> None:
    make_run(source, name="at-work", status="running")
    make_run(source, name="broken", status="failed")
    make_run(source, name="done", status="finished")
    shown = text(client, reverse("home"))
    assert shown.index("Running now") < shown.index("at-work") < shown.index("Failed last") < shown.index("broken")
    assert "done" not in shown
    assert "3 runs" in shown


def test_a_source_that_cannot_be_read_is_an_error_on_home_and_a_mark_on_every_page(
    client: Client, lora: Trainer
) -> None:
    make_source(lora, root="/gone", status="error", last_error="No such file or directory")
    shown = text(client, reverse("home"))
    assert "Not read since" in shown
    assert "No such file or directory" in shown
    assert "1 of 1 source failing" in text(client, reverse("runs"))


def test_every_page_says_how_old_its_data_is(client: Client, lora: Trainer) -> None:
    make_source(lora, last_synced=now() - timedelta(minutes=5))
    make_source(lora, last_synced=now())
    assert "data as of 5 m ago" in text(client, reverse("runs"))
    run = make_run(Source.objects.latest("last_synced"))
    assert "data as of now" in re.sub(r"\d s ago", "now", text(client, run.get_absolute_url()))


def test_an_empty_site_says_which_command_fills_it(client: Client) -> None:
    for name in ("home", "runs"):
        assert "manage.py sync_runs lora=/path/to/logs" in text(client, reverse(name))


def test_home_counts_only_what_the_user_may_see(source: Source) -> None:
    make_run(source, name="secret")
    stranger = signed_in(make_user("charlie", "viewer"))
    shown = text(stranger, reverse("home"))
    assert "secret" not in shown
    assert "/logs/lora" not in shown


def test_unknown_pages_are_friendly(client: Client) -> None:
    assert "There is nothing at this address" in text(client, "/nothing/", status=404)


def test_a_failure_is_friendly_and_tells_no_detail(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr("runs.views.listing.dress_rows", fail)
    client.raise_request_exception = False
    shown = text(client, reverse("runs"), status=500)
    assert "Something failed here" in shown
    assert "secret detail" not in shown
