"""The workspace: which runs are listed and shown, and what the tabs say of them (CH-17, AFS-64)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from runs.models import Run, Trainer
from tests.runs.conftest import signed_in
from tests.runs.factories import make_points, make_run, make_source, make_trainer

if TYPE_CHECKING:
    from pytest_django import DjangoAssertNumQueries


def page(user: User, query: str = "") -> str:
    """The workspace of this question."""
    answer = signed_in(user).get(f"{reverse('workspace')}?{query}")
    assert answer.status_code == 200, answer.content.decode()
    return answer.content.decode()


def shown(html: str) -> list[int]:
    """The runs whose eye is open, in the order of the list."""
    return [int(run) for run in re.findall(r'<li class="on" data-run="(\d+)"', html)]


def listed(html: str) -> list[int]:
    return [int(run) for run in re.findall(r'<li(?: class="on")? data-run="(\d+)"', html)]


def toggle(html: str, run: Run) -> str:
    """The query string behind a run's eye."""
    (link,) = re.findall(rf'<a class="eye" href="\?([^"]*)" data-eye="{run.pk}"', html)
    return str(link).replace("&amp;", "&")


@pytest.fixture
def three(lora: Trainer) -> list[Run]:
    """Three runs of two datasets with a loss each."""
    source = make_source(lora)
    runs = []
    for number, dataset in enumerate(("alpaca", "alpaca", "dolly")):
        params = {"lr": 10.0 ** -(number + 1), "seed": number, "optimizer": {"name": "adam"}}
        run = make_run(source, name=f"run-{'abc'[number]}", dataset=dataset, params=params)
        make_points(run, "train/loss", [3.0, 2.0, 1.0 - number / 10])
        make_points(run, "val/accuracy", [0.1, 0.5, 0.7 + number / 10])
        runs.append(run)
    return runs


def test_a_selection_keeps_its_order_and_all_are_shown(alice: User, three: list[Run]) -> None:
    a, b, c = (run.pk for run in three)
    html = page(alice, f"run={c}&run={a}&run={b}")
    assert listed(html) == shown(html) == [c, a, b]


def test_a_filter_shows_its_first_twenty(alice: User, lora: Trainer) -> None:
    source = make_source(lora)
    runs = [make_run(source, name=f"run-{number:02}") for number in range(25)]
    html = page(alice, "trainer=lora&sort=name")
    assert shown(html) == [run.pk for run in runs[:20]]
    assert listed(html) == [run.pk for run in runs]


def test_an_eye_is_a_link_that_shuts_and_opens(alice: User, three: list[Run]) -> None:
    a, b, c = three
    html = page(alice, f"run={a.pk}&run={b.pk}&run={c.pk}")
    without = page(alice, toggle(html, b))
    assert shown(without) == [a.pk, c.pk]
    assert listed(without) == [a.pk, b.pk, c.pk]
    again = page(alice, toggle(without, b))
    assert set(shown(again)) == {a.pk, b.pk, c.pk}


def test_the_last_eye_can_be_shut(alice: User, three: list[Run]) -> None:
    html = page(alice, f"run={three[0].pk}")
    none = page(alice, toggle(html, three[0]))
    assert shown(none) == []
    assert "No run is shown" in none


def test_the_list_says_how_many_runs_it_has(alice: User, lora: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_source(lora)
    runs = [make_run(source, name=f"run-{number}") for number in range(35)]
    assert "<b>20</b> shown of 35" in page(alice)
    assert "<b>1</b> shown of 3<" in page(alice, f"run={runs[0].pk}&run={runs[1].pk}&run={runs[2].pk}&shown={runs[1].pk}")
    monkeypatch.setattr("runs.workspace.COUNTED", 32)
    assert "<b>20</b> shown of more than 32" in page(alice)


def test_without_any_run_the_workspace_says_how_one_comes(alice: User, lora: Trainer) -> None:
    assert "manage.py sync_runs" in page(alice)
    make_run(make_source(lora))
    assert "manage.py sync_runs" not in page(alice, "shown=none")


def test_no_more_than_twenty_are_shown_and_the_page_says_so(alice: User, lora: Trainer) -> None:
    """P20."""
    source = make_source(lora)
    runs = [make_run(source) for _ in range(22)]
    html = page(alice, "&".join(f"run={run.pk}" for run in runs))
    assert shown(html) == [run.pk for run in runs[:20]]
    assert "2 more are hidden" in html
    assert f'data-eye="{runs[21].pk}"' not in html


def test_shown_runs_of_other_pages_stay_in_sight(alice: User, lora: Trainer) -> None:
    source = make_source(lora)
    runs = [make_run(source, name=f"run-{number:02}") for number in range(35)]
    html = page(alice, "sort=name")
    (more,) = re.findall(r'href="\?([^"]*)"[^>]*>More', html)
    second = page(alice, more.replace("&amp;", "&"))
    assert shown(second) == [run.pk for run in runs[:20]]
    assert listed(second)[20:] == [run.pk for run in runs[30:]]
    assert "Shown, not on this page" in second


def test_a_run_that_one_may_not_see_is_not_found_and_the_others_are_shown(alice: User, three: list[Run]) -> None:
    """P17."""
    hidden = make_run(make_source(make_trainer("router", "team-router")), name="hidden-run", params={"secret": 1})
    html = page(alice, f"run={three[0].pk}&run={hidden.pk}&run=999999&shown={three[0].pk},{hidden.pk},999999&tab=table")
    assert shown(html) == [three[0].pk]
    assert f"Runs {hidden.pk}, 999999: not found" in html
    assert "hidden-run" not in html


def test_a_workspace_of_nothing_that_one_may_see_is_not_found(charlie: User, three: list[Run]) -> None:
    """P17."""
    client = signed_in(charlie)
    for query in (f"run={three[0].pk}", f"shown={three[0].pk}", "run=999999"):
        assert client.get(f"{reverse('workspace')}?{query}").status_code == 404
    for tab in ("charts", "table", "parallel", "scatter", "datasets"):
        assert "run-a" not in page(charlie, f"tab={tab}")


def test_buried_runs_are_not_shown(alice: User, three: list[Run]) -> None:
    Run.objects.filter(pk=three[0].pk).update(lifecycle_stage=Run.Stage.BURIED)
    assert shown(page(alice)) == [three[2].pk, three[1].pk]


def test_a_card_a_tag_names_the_runs_that_have_it(alice: User, three: list[Run]) -> None:
    """CH-17."""
    make_points(three[1], "extra", [1.0])
    html = page(alice, "&".join(f"run={run.pk}" for run in three))
    cards = dict(re.findall(r'data-tag="([^"]*)" data-runs="([^"]*)"', html))
    everyone = " ".join(str(run.pk) for run in three)
    assert cards == {"train/loss": everyone, "val/accuracy": everyone, "extra": str(three[1].pk)}


def test_tags_are_searched(alice: User, three: list[Run]) -> None:
    html = page(alice, "tags=ACC")
    assert "val/accuracy" in html
    assert 'data-tag="train/loss"' not in html
    assert "All tags" in page(alice, "tags=nothing")


def test_without_scripts_the_lines_of_all_runs_are_drawn(alice: User, three: list[Run]) -> None:
    html = page(alice, "plain=1")
    assert html.count("<path class=") >= 6


def test_differences_come_first_and_alone(alice: User, three: list[Run]) -> None:
    """CH-17."""
    html = page(alice, "tab=table&" + "&".join(f"run={run.pk}" for run in three))
    rows = re.findall(r'<th scope="row" class="what" title="([^"]*)"', html)
    assert rows == ["lr", "seed", "train/loss", "val/accuracy"]
    assert "optimizer.name" in page(alice, "tab=table&rows=all")


def test_the_best_of_each_metric_is_marked(alice: User, three: list[Run]) -> None:
    html = page(alice, "tab=table&" + "&".join(f"run={run.pk}" for run in three))
    best = re.findall(r'<td class="num best">(?:<span title="[^"]*">)?([\d.]+)', html)
    assert best == ["0.8000", "0.9000"]


def test_two_models_have_a_column_of_deltas(alice: User, three: list[Run]) -> None:
    """AFS-64."""
    html = page(alice, f"tab=table&run={three[0].pk}&run={three[1].pk}")
    assert "Δ" in html
    assert "-10.0 %" in html
    assert "Δ" not in page(alice, "tab=table")


def test_last_lowest_and_highest_can_be_asked_for(alice: User, three: list[Run]) -> None:
    html = page(alice, "tab=table&figure=every")
    assert re.findall(r"train/loss <i>(\w+)</i>", html) == ["last", "lowest"]


def test_parallel_coordinates_get_the_parameters_that_differ_and_the_main_metric(alice: User, three: list[Run]) -> None:
    html = page(alice, "tab=parallel")
    (data,) = re.findall(r'<script id="parallel-data" type="application/json">(.*?)</script>', html)
    assert [name for name in ("lr", "seed", "train/loss") if f'"name": "{name}"' in data] == ["lr", "seed", "train/loss"]
    assert "optimizer" not in data
    assert "run-a" in data


def test_a_dot_a_run(alice: User, three: list[Run]) -> None:
    html = page(alice, "tab=scatter&across=param:lr&y=val/accuracy")
    assert html.count("<circle class=\"c0\" cx") + html.count("<circle class=\"c1\" cx") == 5  # three dots, two in the legend
    assert "val/accuracy: 0.9" in html


def test_dots_stand_as_far_apart_as_floats_go(alice: User, lora: Trainer) -> None:
    for value in (5e-324, 1.0, 1.7e308):
        make_points(make_run(make_source(lora), params={"lr": value}), "loss", [value])
    html = page(alice, "tab=scatter&across=param:lr&y=loss")
    assert html.count('<circle class="c9" cx') == 3


def test_the_metric_of_each_dataset(alice: User, three: list[Run]) -> None:
    """CH-56."""
    html = page(alice, "tab=datasets")
    assert re.findall(r'data-label="Runs" class="num">(\d+)', html) == ["2", "1"]
    assert re.findall(r'data-label="Best" class="num"><b>(?:<span[^>]*>)?([\d.]+)', html) == ["0.9000", "0.8000"]


TABS = ["charts", "table", "parallel", "scatter", "datasets"]


@pytest.mark.parametrize("tab", TABS)
def test_every_tab_has_an_empty_state(alice: User, tab: str, three: list[Run]) -> None:
    page(alice, f"tab={tab}&shown=none")
    page(alice, f"tab={tab}&name=nobody")
    page(alice, f"tab={tab}&y=nothing&x=nothing&across=param:nothing&group=param:nothing&axis=no")


@pytest.mark.parametrize(
    "query",
    ["tab=x", "shown=1,,2", "shown=1e999", "shown=%00", "spread=x", "figure=x", "run=x", "sort=nothing", "x=%00", "group=a%00",
     "y=" + "x" * 2000, "tags=" + "x" * 300, "across=%00"],
)
def test_a_wrong_question_is_named(alice: User, query: str) -> None:
    answer = signed_in(alice).get(f"{reverse('workspace')}?{query}")
    assert answer.status_code == 400
    assert "cannot be shown" in answer.content.decode()


def test_hostile_names_stay_text(alice: User, lora: Trainer) -> None:
    evil = "</script><script>alert(1)</script>"
    for number in range(2):
        run = make_run(make_source(lora), name=evil, dataset=evil, params={evil: number, "size": evil})
        make_points(run, evil, [1.0 + number])
    for tab in TABS:
        assert "<script>alert" not in page(alice, f"tab={tab}&group=dataset")


@pytest.mark.parametrize("tab", TABS)
def test_a_tab_asks_as_often_for_twenty_runs_as_for_two(
    alice: User, lora: Trainer, tab: str, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    source = make_source(lora)
    for number in range(20):
        run = make_run(source, dataset=f"set-{number % 3}", params={"lr": number, "size": f"s{number % 2}"})
        make_points(run, "loss", [1.0, number])
    client = signed_in(alice)
    client.get(reverse("workspace"))
    with django_assert_max_num_queries(25):
        client.get(f"{reverse('workspace')}?tab={tab}&trainer=lora&sort=name")
