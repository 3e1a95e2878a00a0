"""/api/compare/lines/: a metric over another one, and groups with mean and band."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from runs import lines
from runs.models import Run, Trainer
from tests.runs.api.conftest import by_token, problem
from tests.runs.conftest import signed_in
from tests.runs.factories import make_file, make_points, make_run, make_source, make_trainer

if TYPE_CHECKING:
    from pytest import MonkeyPatch
    from pytest_django import DjangoAssertNumQueries


def asked(user: User, query: str, status: int = 200) -> Any:
    answer = signed_in(user).get(f"{reverse('api:compare-lines')}?{query}")
    assert answer.status_code == status, answer.content
    return answer.json()


@pytest.fixture
def seeds(lora: Trainer) -> list[Run]:
    """Three seeds, two of them of one dataset."""
    source = make_source(lora)
    runs = []
    for seed, dataset in enumerate(("alpaca", "alpaca", "dolly")):
        run = make_run(source, dataset=dataset, params={"seed": seed})
        make_points(run, "loss", [4.0 + seed, 2.0 + seed], steps=[0, 10])
        make_points(run, "accuracy", [0.1, 0.2], steps=[0, 5])
        runs.append(run)
    return runs


def ids(runs: list[Run]) -> str:
    return "&".join(f"run={run.pk}" for run in runs)


def test_a_metric_over_another_one_is_joined_on_the_step(alice: User, seeds: list[Run]) -> None:
    told = asked(alice, f"{ids(seeds[:1])}&tag=loss&x=accuracy")
    assert told == {"runs": [{"run": seeds[0].pk, "at": [0.1, 0.2], "values": [4.0, 2.0], "path": True}], "groups": []}


def test_a_run_without_one_of_the_metrics_is_left_out(alice: User, seeds: list[Run]) -> None:
    told = asked(alice, f"{ids(seeds)}&tag=loss&x=nothing")
    assert told["runs"] == []


def test_an_x_that_turns_back_is_no_path(alice: User, lora: Trainer) -> None:
    run = make_run(make_source(lora))
    make_points(run, "loss", [1.0, 2.0, 3.0])
    make_points(run, "lr", [0.1, 0.3, 0.2])
    (line,) = asked(alice, f"run={run.pk}&tag=loss&x=lr")["runs"]
    assert (line["at"], line["values"], line["path"]) == ([0.1, 0.2, 0.3], [1.0, 3.0, 2.0], False)


def test_groups_have_mean_band_and_count(alice: User, seeds: list[Run]) -> None:
    alpaca, dolly = asked(alice, f"{ids(seeds)}&tag=loss&group=dataset")["groups"]
    assert (alpaca["name"], alpaca["runs"]) == ("alpaca", [seeds[0].pk, seeds[1].pk])
    assert (alpaca["at"], alpaca["mean"], alpaca["count"]) == ([0, 10], [4.5, 2.5], [2, 2])
    assert (alpaca["low"], alpaca["high"]) == ([4.0, 2.0], [5.0, 3.0])
    assert (dolly["name"], dolly["mean"], dolly["count"]) == ("dolly", [6.0, 4.0], [1, 1])


def test_groups_by_a_parameter_over_time_and_over_a_metric(alice: User, seeds: list[Run]) -> None:
    by_seed = asked(alice, f"{ids(seeds)}&tag=loss&group=param:seed&x=relative&spread=std")["groups"]
    assert [(group["name"], group["at"]) for group in by_seed] == [(str(seed), [0.0, 1.0]) for seed in range(3)]
    (alpaca, _) = asked(alice, f"{ids(seeds)}&tag=loss&group=dataset&x=accuracy")["groups"]
    assert (alpaca["at"], alpaca["mean"]) == ([0.1, 0.2], [4.5, 2.5])


def test_superseded_attempts_do_not_count(alice: User, lora: Trainer) -> None:
    run = make_run(make_source(lora), dataset="alpaca")
    file = make_file(run)
    make_points(run, "loss", [9.0, 9.0, 9.0], file=file)
    make_points(run, "loss", [1.0, 2.0], file=file, part=1, wall=1_700_000_100.0)
    (group,) = asked(alice, f"run={run.pk}&tag=loss&group=dataset")["groups"]
    assert (group["at"], group["mean"]) == ([0, 1], [1.0, 2.0])


def test_nan_and_infinities_never_break_json(alice: User, lora: Trainer) -> None:
    """P4."""
    run = make_run(make_source(lora), dataset="alpaca")
    make_points(run, "loss", [1.0, math.nan, math.inf, -math.inf, 1.7e308])
    make_points(run, "accuracy", [0.1, 0.2, math.nan, 0.3, 0.4])
    (line,) = asked(alice, f"run={run.pk}&tag=loss&x=accuracy")["runs"]
    assert line["values"] == [1.0, None, None, 1.7e308]
    for spread in ("range", "std"):
        (group,) = asked(alice, f"run={run.pk}&tag=loss&group=dataset&spread={spread}")["groups"]
        assert group["mean"] == [1.0, 1.7e308]


def test_long_lines_are_thinned_and_keep_their_spike(alice: User, lora: Trainer) -> None:
    run = make_run(make_source(lora))
    make_points(run, "loss", [0.0] * 700 + [9.0] + [0.0] * 2000)
    make_points(run, "epoch", [step / 100 for step in range(2701)])
    (line,) = asked(alice, f"run={run.pk}&tag=loss&x=epoch&points=100")["runs"]
    assert len(line["at"]) <= 110
    assert max(line["values"]) == 9.0


def test_a_range_is_told_finer_than_the_whole(alice: User, lora: Trainer) -> None:
    run = make_run(make_source(lora), dataset="alpaca")
    make_points(run, "loss", list(range(5000)))
    make_points(run, "epoch", [step / 100 for step in range(5000)])
    (line,) = asked(alice, f"run={run.pk}&tag=loss&x=epoch&points=100&from=10.005&to=10.5")["runs"]
    assert line["values"] == list(range(1000, 1052))  # one more on each side
    (group,) = asked(alice, f"run={run.pk}&tag=loss&group=dataset&points=100&from=1000.5&to=1050")["groups"]
    assert group["at"] == group["mean"] == [1000.5, *range(1001, 1051)]
    (line,) = asked(alice, f"run={run.pk}&tag=loss&x=epoch&from=90&to=91")["runs"]
    assert len(line["at"]) <= 1
    assert asked(alice, f"run={run.pk}&tag=loss&group=dataset&from=6000")["groups"][0]["at"] == []


def test_runs_that_one_may_not_see_are_left_out_and_alone_not_found(alice: User, charlie: User, seeds: list[Run]) -> None:
    """P17."""
    hidden = make_run(make_source(make_trainer("router", "team-router")))
    make_points(hidden, "loss", [1.0])
    (group, _) = asked(alice, f"run={hidden.pk}&{ids(seeds)}&tag=loss&group=dataset")["groups"]
    assert hidden.pk not in group["runs"]
    own = {"instance": "", "correlation_id": ""}
    told = [asked(alice, f"run={pk}&tag=loss&group=trainer", 404) | own for pk in (hidden.pk, 999_999)]
    assert told[0] == told[1]
    asked(charlie, f"{ids(seeds)}&tag=loss&group=dataset", 404)


def test_a_token_reads_it_and_one_for_ingest_does_not(alice: User, lora: Trainer, seeds: list[Run]) -> None:
    path = f"{reverse('api:compare-lines')}?{ids(seeds)}&tag=loss&group=dataset"
    assert by_token(alice, "read").get(path).status_code == 200
    assert by_token(alice, "ingest", lora).get(path).status_code == 403


def test_too_many_points_are_refused_with_what_to_narrow(alice: User, seeds: list[Run], monkeypatch: MonkeyPatch) -> None:
    """P20."""
    monkeypatch.setattr(lines, "POINTS", 5)
    answer = signed_in(alice).get(f"{reverse('api:compare-lines')}?{ids(seeds)}&tag=loss&group=dataset")
    assert "Show fewer runs" in problem(answer, 422, "too-much")["detail"]


@pytest.mark.parametrize(
    "query",
    ["", "tag=loss", "run=1", "run=x&tag=loss&group=dataset", "run=1&tag=loss", "run=1&tag=loss&x=wall", "run=0&tag=a&x=b",
     "run=1&tag=%00&x=a", "run=1&tag=a&x=%00", "run=1&tag=a&group=%00", "run=1&tag=a&group=dataset&points=1e999",
     "run=99999999999999999999&tag=a&x=b", "run=1&tag=a&x=b&spread=no",
     "run=1&tag=a&x=b&from=2&to=1", "run=1&tag=a&x=b&from=nan", "run=1&tag=a&x=b&to=1e999",
     "&".join(["tag=a&x=b", *["run=1"] * 21])],
)
def test_a_wrong_question_is_a_problem(alice: User, query: str) -> None:
    answer = signed_in(alice).get(f"{reverse('api:compare-lines')}?{query}")
    assert answer.status_code in (400, 404), answer.content
    assert answer["Content-Type"] == "application/problem+json"


def test_it_asks_as_often_for_twenty_runs_as_for_two(
    alice: User, lora: Trainer, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    source = make_source(lora)
    runs = [make_run(source, dataset="alpaca") for _ in range(20)]
    for run in runs:
        make_points(run, "loss", [1.0, 2.0])
    client = signed_in(alice)
    with django_assert_max_num_queries(12):
        assert client.get(f"{reverse('api:compare-lines')}?{ids(runs)}&tag=loss&group=dataset").status_code == 200
