"""The first pages: home, the list of runs, the page of a run."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.db import connection
from django.test import AsyncClient, Client
from django.urls import reverse
from django.utils.timezone import now

from runs.models import Event, Job, Run, Sample, Source, TextSummary, Trainer, Transition
from tests.runs.conftest import BACKEND, signed_in
from tests.runs.factories import make_file, make_full_run, make_points, make_run, make_source, make_user, tabs

if TYPE_CHECKING:
    from pytest_django import DjangoAssertNumQueries

pytestmark = pytest.mark.django_db
EVIL = "<script>alert(1)</script>'\"><img src=x onerror=alert(1)>"


def text(client: Client, path: str, status: int = 200) -> str:
    """The page's words, without its markup."""
    answer = client.get(path)
    assert answer.status_code == status, path
    shown = re.sub(r"<svg.*?</svg>|<[^>]+>", " ", answer.content.decode(), flags=re.S)
    return html.unescape(re.sub(r"\s+", " ", shown))


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
    monkeypatch.setattr("runs.pieces.unpack_into", pytest.fail)
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
    with django_assert_num_queries(9):
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


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["/nothing/", "/admin/login/"])
def test_the_page_of_an_error_keeps_no_connection_to_the_database(alice: User, path: str) -> None:
    """Under daphne a thread of its own makes it: with as many threads as the pool has connections the site stood still."""
    client = AsyncClient()
    client.force_login(alice, backend=BACKEND)
    before = _connections()
    answer = async_to_sync(client.get)(path)
    assert answer.status_code in (403, 404)
    assert _connections() == before


def _connections() -> int:
    with connection.cursor() as cursor:
        cursor.execute(  # an autovacuum has one of its own
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'")
        return int(cursor.fetchone()[0])


def test_what_cannot_be_answered_says_why(client: Client, source: Source) -> None:
    run = make_run(source)
    answer = client.post(f"/runs/{run.pk}/bookmark/", {"keep": "<b>"})
    assert answer.status_code == 400
    assert "keep must be one of no, mine, shared. Nothing was changed." in answer.content.decode()
    assert "not as a browser sends it" in client.get("/", headers={"host": "evil.example"}).content.decode()
