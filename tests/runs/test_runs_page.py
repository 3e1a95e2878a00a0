"""The run list: what a row shows, filters, order, columns, pages, totals, and what is done to chosen runs."""

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

from runs.models import Bookmark, Note, Run, SavedView, Source, Trainer
from runs.query import TooLarge
from runs.query.sorting import PLAIN
from tests.runs.conftest import signed_in
from tests.runs.factories import make_file, make_points, make_run, make_source, make_trainer
from tests.runs.test_pages import text

if TYPE_CHECKING:
    from django.http import HttpResponse
    from pytest_django import DjangoAssertNumQueries, Settings


def names(client: Client, query: str = "", path: str = "/runs/") -> list[str]:
    """The runs of the list, from above."""
    page = client.get(f"{path}?{query}").content.decode()
    return re.findall(r'<td class="c-name"[^>]*><div class="named"><a [^>]*>([^<]*)<', page)


def links(client: Client, path: str, pattern: str) -> list[str]:
    """The addresses of the links of a page whose tags match the pattern."""
    page = client.get(path).content.decode()
    return [html.unescape(href) for tag in re.findall(r"<a [^>]*>", page) if re.search(pattern, tag)
            for href in re.findall(r'href="([^"]*)"', tag)]


# ── rows ──


def test_the_list_shows_what_is_known_of_a_run(client: Client, source: Source) -> None:
    """CH-27, CH-28: files and points are shown apart."""
    run = make_run(source, name="qwen-r16", dataset="alpaca", size=3 << 20, event_file_count=2, point_count=1234567)
    make_points(run, "train/loss", [2.0, 1.0, 0.51239])
    shown = text(client, reverse("runs"))
    for words in ("finished", "qwen-r16 alpaca", "lora", "0.5124 train/loss", "1,234,567 2 3.0 MiB", "1 h 00 m"):
        assert words in shown


def test_the_totals_are_those_of_the_filter_over_all_its_pages(client: Client, source: Source) -> None:
    """CH-30."""
    for number in range(120):
        make_run(source, name=f"a{number}", size=1000 + number)
    make_run(source, name="other", size=10**9)
    total = sum(1000 + number for number in range(120))
    [totals] = links(client, reverse("runs") + "?name=a", "data-totals")
    page = client.get(totals).content.decode()
    assert f'data-bytes="{total}"' in page
    assert "120 runs of this filter" in text(client, totals)
    assert "120 finished" in text(client, totals)


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
    assert "under 2 d under 30 d older" in re.sub(r"\s+", " ", text(client, reverse("runs")))


def test_the_age_of_an_empty_run_is_unknown(client: Client, source: Source) -> None:
    """CH-34."""
    make_run(source, name="empty", started=None, modified=None, status="unknown")
    page = client.get(reverse("runs")).content.decode()
    assert "age unknown" in page
    assert re.search(r'c-modified[^>]*><span class="age unknown">unknown<', page)


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
    assert len(names(client)) == 50
    [onwards] = links(client, reverse("runs"), 'rel="next"')
    assert len(names(client, onwards.partition("?")[2])) == 1
    [back] = links(client, onwards, 'rel="prev"')
    assert names(client, back.partition("?")[2]) == names(client)


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


def test_the_question_is_a_form_on_a_page_of_its_own(client: Client, source: Source) -> None:
    make_run(source, name="qwen-a", dataset="alpaca", status="failed")
    [form, _] = links(client, reverse("runs") + "?status=failed&sort=name", 'class="later"')
    page = client.get(form).content.decode()
    assert 'name="status" value="failed" checked' in page
    assert "alpaca" in page and '<option value="name" selected>' in page


def test_a_wrong_question_brings_its_form_along(client: Client, source: Source) -> None:
    page = client.get(reverse("runs") + "?newer=soon", follow=True).content.decode()
    assert 'id="f-newer" type="text" name="newer" value="soon"' in page


def test_the_form_of_a_saved_view_asks_what_the_view_asks(client: Client, alice: User, source: Source) -> None:
    view = SavedView.objects.create(owner=alice, name="broken", query="status=failed")
    page = client.get(reverse("view-form", args=[view.pk])).content.decode()
    assert f'action="{view.get_absolute_url()}"' in page and 'name="status" value="failed" checked' in page


def test_the_queries_of_the_list_do_not_grow_with_it(
    client: Client, source: Source, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(4):
        make_points(make_run(source, name=f"r{number}", dataset=f"d{number}"), "loss", [2.0, 1.0])
    client.get("/runs/")  # the curves are drawn and remembered
    for limit in (1, 3):
        # the session, the user with the role, permissions; views, sources; between two savepoints a
        # time limit, the metrics' ids, and what the page needs; notes, bookmarks and files that cannot be read
        with django_assert_num_queries(15):
            client.get(f"/runs/?limit={limit}")


def test_a_heading_turns_the_order_and_keeps_the_filter(client: Client, source: Source) -> None:
    make_run(source, name="qwen")
    page = client.get(reverse("runs") + "?q=qwen&sort=size").content.decode()
    assert '<th scope="col" class="c-size num" aria-sort="ascending"><a href="/runs/?q=qwen&amp;sort=-size">' in page


def test_a_list_costs_the_same_queries_whatever_its_length(client: Client, source: Source) -> None:
    """P20: 50 rows with sparklines in 30 queries, three of them marks of the test's own transaction."""
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
    assert queries() <= one <= 30


# ── the question ──


def test_a_condition_is_a_sentence_with_a_link_without_it(client: Client, source: Source) -> None:
    make_run(source, name="qwen", status="failed")
    make_run(source, name="llama")
    path = reverse("runs") + "?status=failed&name=qwen"
    assert "status is failed" in text(client, path)
    crosses = links(client, path, "Remove the filter")
    assert [names(client, href.partition("?")[2]) for href in crosses] == [["qwen"], ["qwen"]]
    assert crosses == [reverse("runs") + "?name=qwen", reverse("runs") + "?status=failed"]


def test_a_mistake_is_told_beside_its_field_and_nothing_is_lost(client: Client, source: Source) -> None:
    make_run(source)
    page = client.get(reverse("runs"), {"metric": "loss", "status": "failed", "q": "qwen"}).content.decode()
    field = page[page.index('name="metric"') : page.index('name="param"')]
    assert 'aria-invalid="true"' in field
    assert "compares nothing" in field
    assert 'value="loss"' in field
    assert 'value="qwen"' in page
    assert re.search(r'value="failed" checked', page)


def test_an_empty_list_says_which_filter_to_loosen(client: Client, source: Source) -> None:
    make_run(source, name="qwen", status="failed")
    shown = text(client, reverse("runs") + "?status=failed&name=llama")
    assert "No run fits all of these filters. 1 run without “name has “llama””" in shown
    assert "without “status is failed”" not in shown


def test_the_form_offers_only_what_the_user_may_see(client: Client, source: Source) -> None:
    make_run(make_source(make_trainer("secret-trainer", "others")), dataset="secret-data")
    assert "secret" not in client.get(reverse("runs")).content.decode()


def test_suggestions_come_from_visible_runs_only(client: Client, source: Source) -> None:
    make_points(make_run(source, params={"lr": 0.1}, tags=["paper"]), "eval/loss", [1.0])
    other = make_run(make_source(make_trainer("hidden", "others")), params={"secret_param": 1}, tags=["secret-tag"])
    make_points(other, "secret/metric", [1.0])
    known = client.get(reverse("known"))
    assert {"last(eval/loss)", "min(eval/loss)", "max(eval/loss)", "param:lr"} <= set(known.json()["column"])
    assert "paper" in known.json()["tag"]
    assert b"secret" not in known.content


def test_runs_of_a_source_that_fails_are_marked_with_the_age_of_what_is_known(client: Client, source: Source) -> None:
    make_run(source, name="qwen")
    Source.objects.update(status="error", last_error="Permission denied", last_synced=now() - timedelta(hours=3))
    assert "A source of lora cannot be read: its runs are as of 3 h ago . Permission denied" in text(client, reverse("runs"))
    assert 'class="stale"' in client.get(reverse("runs")).content.decode()


def test_a_question_that_takes_too_long_is_refused_with_advice(
    client: Client, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P20.  That the database gives up in time is tested beside the engine."""
    make_run(source)

    def page(*_: object) -> None:
        raise TooLarge("This list takes more than 5 s to make. Narrow it.")

    monkeypatch.setattr("runs.query.RunQuery.page", page)
    monkeypatch.setattr("runs.query.RunQuery.totals", page)
    for path in (reverse("runs"), reverse("totals")):
        assert "Narrow it" in text(client, path, status=400)


def test_a_list_leads_to_its_export_and_its_charts(client: Client, source: Source) -> None:
    make_run(source, status="failed")
    asked = "status=failed&sort=name"
    found = links(client, f"{reverse('runs')}?{asked}", asked.replace("&", "&amp;"))
    assert {f"{reverse('api:run-export')}?as={form}&{asked}" for form in ("csv", "json")} <= set(found)
    assert f"{reverse('workspace')}?{asked}" in found


# ── columns ──


def headings(client: Client, query: str) -> list[str]:
    page = client.get(f"{reverse('runs')}?{query}").content.decode()
    return [html.unescape(re.sub(r"<[^>]+>|[↑↓]", "", one)) for one in re.findall(r"<th [^>]*>(.*?)</th>", page)][1:]


def test_columns_are_chosen_and_ordered_in_the_address(client: Client, source: Source) -> None:
    run = make_run(source, name="qwen", params={"lora": {"r": 16}}, tags=["paper"])
    make_points(run, "eval/loss", [3.0, 0.25, 0.5])
    query = "column=name&column=min(eval/loss)&column=param:lora.r&column=last(eval/loss)&column=tags"
    assert headings(client, query) == ["Name", "eval/loss min", "lora.r", "eval/loss", "Tags"]
    assert "0.2500 16 0.5000 paper" in text(client, f"{reverse('runs')}?{query}")


def test_an_arrow_moves_a_column_without_scripts(client: Client, source: Source) -> None:
    make_run(source)
    [moved] = links(client, reverse("run-form") + "?column=name&column=size&column=points", "Move Points to the left")
    assert headings(client, moved.partition("?")[2]) == ["Name", "Points", "Size"]


def test_a_metrics_heading_sorts_by_it(client: Client, source: Source) -> None:
    for name, values in (("a", [0.9, 0.5]), ("b", [0.1, 0.7]), ("c", [0.4, 0.4])):
        make_points(make_run(source, name=name), "loss", values)
    query = "column=name&column=min(loss)"
    assert names(client, query + "&sort=min(loss)") == ["b", "c", "a"]
    assert names(client, query + "&sort=-last(loss)") == ["b", "a", "c"]
    [turned] = [one for one in links(client, f"{reverse('runs')}?{query}&sort=min(loss)", "") if "sort=-min" in one]
    assert names(client, turned.partition("?")[2]) == ["a", "c", "b"]


def test_a_column_that_is_none_is_refused_beside_its_field(client: Client, source: Source) -> None:
    make_run(source)
    assert "is no column" in text(client, reverse("runs") + "?column=secret", status=400)


# ── marks ──


def test_pins_notes_and_bookmarks_are_marked_each_to_whom_they_concern(
    client: Client, bob: User, source: Source
) -> None:
    run = make_run(source, pinned=True)
    Note.objects.create(run=run, text="look")
    Bookmark.objects.create(run=run, owner=bob)
    page = client.get(reverse("runs")).content.decode()
    assert 'aria-label="pinned"' in page
    assert 'title="1 note"' in page
    assert 'aria-label="bookmarked' not in page
    assert 'aria-label="bookmarked"' in signed_in(bob).get(reverse("runs")).content.decode()
    Bookmark.objects.update(shared=True)
    assert 'aria-label="bookmarked for the team"' in client.get(reverse("runs")).content.decode()


# ── chosen runs ──


def do(client: Client, deed: str, runs: list[Run] | list[int], **sent: str) -> HttpResponse:
    ids = [run.pk if isinstance(run, Run) else run for run in runs]
    return client.post(reverse("selected"), {"do": deed, "run": ids, "next": "/runs/?name=q", **sent}, follow=True)


def test_an_operator_tags_many_runs_at_once(bob: User, source: Source) -> None:
    client, runs = signed_in(bob), [make_run(source, tags=["old"]) for _ in range(3)]
    answer = do(client, "tag", runs[:2], tags="paper, keep ,paper")
    assert answer.redirect_chain == [("/runs/?name=q", 302)]
    assert "2 runs tagged." in answer.content.decode()
    assert [Run.objects.get(pk=run.pk).tags for run in runs] == [["old", "paper", "keep"]] * 2 + [["old"]]
    do(client, "untag", runs, tags="old")
    assert [Run.objects.get(pk=run.pk).tags for run in runs] == [["paper", "keep"]] * 2 + [[]]


def test_a_viewer_bookmarks_many_runs_but_changes_nothing_that_others_see(client: Client, alice: User, source: Source) -> None:
    runs = [make_run(source) for _ in range(3)]
    assert "3 runs bookmarked." in do(client, "bookmark", runs).content.decode()
    assert Bookmark.objects.filter(owner=alice, shared=False).count() == 3
    for deed in ("tag", "untag", "pin", "unpin", "share"):
        assert do(client, deed, runs, tags="x").status_code == 403
    assert not Run.objects.exclude(tags=[], pinned=False).exists()


def test_runs_that_are_not_visible_are_not_touched_and_not_told_from_those_that_do_not_exist(
    bob: User, source: Source
) -> None:
    """Attacks, 'Access'."""
    hidden, mine = make_run(make_source(make_trainer("hidden", "others"))), make_run(source)
    answer = do(signed_in(bob), "pin", [mine.pk, hidden.pk, 999_999])
    assert "1 run pinned." in answer.content.decode()
    assert "2 of the chosen runs are not there any more." in answer.content.decode()
    assert list(Run.objects.filter(pinned=True)) == [mine]


def test_more_than_500_runs_at_once_are_refused(bob: User, source: Source) -> None:
    answer = do(signed_in(bob), "pin", list(range(1, 502)))
    assert answer.status_code == 400
    assert "at most 500 can be changed at once" in answer.content.decode()


def test_what_stands_against_one_run_does_not_stop_the_others(bob: User, source: Source) -> None:
    full, other = make_run(source, tags=[str(number) for number in range(50)]), make_run(source)
    page = do(signed_in(bob), "tag", [full, other], tags="paper").content.decode()
    assert "1 run tagged." in page
    assert "A run has at most 50 tags" in page


def test_without_scripts_chosen_runs_have_a_page_of_their_own(bob: User, source: Source) -> None:
    client, run = signed_in(bob), make_run(source, name="qwen")
    page = client.get(reverse("selected"), {"run": [run.pk], "next": "/runs/"}).content.decode()
    assert "1 chosen run<" in page
    assert f'<input type="hidden" name="run" value="{run.pk}">' in page
    answer = client.post(reverse("selected"), {"run": [run.pk], "do": "tag", "tags": " "})
    assert answer.status_code == 400
    assert "Write a tag." in answer.content.decode()
    assert client.get(reverse("selected")).status_code == 400


@pytest.mark.parametrize("where", ["https://evil.example/", "//evil.example", "javascript:alert(1)", ""])
def test_the_way_back_leads_to_no_foreign_site(client: Client, source: Source, where: str) -> None:
    answer = client.post(reverse("selected"), {"run": [make_run(source).pk], "do": "bookmark", "next": where})
    assert answer["Location"] == reverse("runs")


def test_a_way_back_is_an_address_never_the_name_of_a_route(client: Client, source: Source) -> None:
    for where in ("nowhere", "account"):
        answer = client.post(reverse("selected"), {"run": [make_run(source).pk], "do": "bookmark", "next": where})
        assert (answer.status_code, answer["Location"]) == (302, where)


def test_a_list_without_runs_offers_no_charts_and_no_export_of_them(client: Client, source: Source) -> None:
    assert "Workspace</a>" not in client.get("/runs/").content.decode().partition('class="toolbar"')[2]
    make_run(source)
    assert "Workspace</a>" in client.get("/runs/").content.decode().partition('class="toolbar"')[2]
    empty = client.get("/runs/?q=nothing-is-called-so").content.decode().partition('class="toolbar"')[2]
    assert "Workspace</a>" not in empty
    assert "as=csv" not in empty


def test_below_a_name_stands_its_dataset_or_nothing(client: Client, source: Source) -> None:
    make_run(source, name="plain")
    assert ">plain</a></div>" in client.get("/runs/").content.decode()
    make_run(source, name="measured", dataset="alpaca")
    assert "<span>alpaca</span>" in client.get("/runs/").content.decode()


# ── nothing to show ──


def test_a_metric_that_no_visible_run_has_is_named_with_those_called_alike(client: Client, source: Source) -> None:
    hidden = make_run(make_source(make_trainer("router", "team-router")))
    make_points(hidden, "loss", [0.1])
    make_points(hidden, "secret/loss", [0.1])
    for number in range(2):
        run = make_run(source, name=f"low-{number}")
        make_points(run, "train/loss", [0.1 + number])
    assert "No run has a metric loss . Did you mean train/loss ?" in text(client, "/runs/?metric=min(loss)<0.5&after=")
    (link,) = links(client, "/runs/?metric=min(loss)<0.5&name=low", "train%2Floss")
    assert names(client, link.partition("?")[2]) == ["low-0"]
    assert "No run has a metric" not in text(client, "/runs/?metric=train/loss<0")


def test_a_list_without_runs_tells_a_source_without_runs_from_none(client: Client, lora: Trainer) -> None:
    assert "Name the folder" in text(client, "/runs/")
    make_source(lora, root="/logs/empty", last_synced=now() - timedelta(minutes=5))
    for path in ("/runs/", "/workspace/"):
        shown = text(client, path)
        assert "No run has been found yet." in shown
        assert "/logs/empty : synced, last read 5 m ago" in shown or "/logs/empty : stale, last read 5 m ago" in shown
        assert "Name the folder" not in shown
    assert "Name the folder" not in text(client, "/runs/?name=x")
