"""Points by the API: exact, thinned without losing a spike, honest about what is no number (P4, P20)."""

from __future__ import annotations

import json
import math
import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.test import Client

from runs import curves
from runs.models import LogFile, Run, Trainer
from tests.runs.api.conftest import by_token, problem
from tests.runs.conftest import signed_in
from tests.runs.factories import make_file, make_points, make_run

if TYPE_CHECKING:
    from pytest_django import DjangoAssertNumQueries

WALL = 1_700_000_000.0


def asked(client: Client, run: Run | int, tag: str = "loss", **more: Any) -> Any:
    pk = run if isinstance(run, int) else run.pk
    return client.get("/api/series/", {"run": pk, "tag": tag, **more})


def series(client: Client, run: Run, tag: str = "loss", **more: Any) -> dict[str, Any]:
    """The one series of an answer whose JSON is strict."""
    answer = asked(client, run, tag, **more)
    assert answer.status_code == 200, answer.content
    (one,) = json.loads(answer.content, parse_constant=pytest.fail)["series"]
    return one  # type: ignore[no-any-return]


def line(client: Client, run: Run, tag: str = "loss", **more: Any) -> dict[str, Any]:
    (only,) = series(client, run, tag, **more)["lines"]
    return only  # type: ignore[no-any-return]


def unpacked(body: bytes) -> dict[str, Any]:
    """The document of a binary answer with its columns put in, as docs/api.md tells to read it."""
    magic, length = struct.unpack_from("<4sI", body)
    assert magic == b"TMS1"
    document: dict[str, Any] = json.loads(body[8 : 8 + length])
    for one in document["series"]:
        for each in one["lines"]:
            for name in ("step", "wall", "value", "mean"):
                if name in each:
                    at, count = each[name]
                    assert (8 + length + at) % 8 == 0
                    each[name] = np.frombuffer(body, "<f8", count, 8 + length + at)
    return document


def test_points_come_as_they_were_written(client: Client, run: Run) -> None:
    """P4."""
    values = [0.1, -0.0, 5e-324, 1.7976931348623157e308, 1 / 3]
    make_points(run, "loss", values, steps=[0, 1, 1, 5, 7])
    got = line(client, run)
    assert [struct.pack("<d", value) for value in got["value"]] == [struct.pack("<d", value) for value in values]
    assert got["step"] == [0, 1, 1, 5, 7]
    assert got["wall"] == [WALL + n for n in range(5)]
    assert (got["thinned"], got["count"], got["old"], got["writer"]) == (False, 5, False, 0)


def test_a_spike_survives_thinning_where_it_was(client: Client, run: Run) -> None:
    values = np.linspace(2, 1, 50_000)
    values[[33_333, 44_444]] = 9.0, -9.0
    make_points(run, "loss", values)
    got = line(client, run, points=100)
    assert len(got["value"]) <= 102
    assert got["step"][got["value"].index(9.0)] == 33_333
    assert got["step"][got["value"].index(-9.0)] == 44_444
    assert (got["step"][0], got["step"][-1], got["count"]) == (0, 49_999, 50_000)


def test_the_means_of_the_buckets_stand_beside_what_was_thinned(client: Client, run: Run) -> None:
    make_points(run, "loss", np.tile([0.0, 1.0], 20_000))
    got = line(client, run, points=200)
    assert got["thinned"]
    assert len(got["mean"]) == len(got["value"])
    assert got["mean"] == pytest.approx([0.5] * len(got["mean"]))


def test_nan_and_inf_are_null_and_marked(client: Client, run: Run) -> None:
    """P4."""
    make_points(run, "loss", [1.0, math.nan, math.inf, -math.inf, 2.0])
    got = line(client, run)
    assert got["value"] == [1.0, None, None, None, 2.0]
    assert got["marks"]["kind"] == ["nan", "inf", "-inf"]
    assert got["marks"]["step"] == [1, 2, 3]
    assert got["marks"]["count"] == [1, 1, 1]


def test_marks_of_a_thinned_line_say_for_how_many_they_stand(client: Client, run: Run) -> None:
    values = np.ones(20_000)
    values[1000:3000] = math.nan
    values[3000] = math.inf
    make_points(run, "loss", values)
    got = line(client, run, points=20)
    assert None not in got["value"]
    assert dict(zip(got["marks"]["kind"], got["marks"]["count"], strict=False))["inf"] == 1
    assert sum(got["marks"]["count"]) == 2001


@pytest.mark.parametrize("values", [[math.nan] * 3, [math.inf] * 30_000, [1.7e308, -1.7e308] * 10_000, [1.0]])
def test_any_values_make_valid_json(client: Client, run: Run, values: list[float]) -> None:
    make_points(run, "loss", values)
    got = line(client, run, points=10)
    assert len(got["value"]) == len(got["step"]) == len(got["wall"])
    assert got["count"] == len(values)


def test_gaps_stay_gaps(client: Client, run: Run) -> None:
    make_points(run, "loss", np.ones(100), steps=[*range(50), *range(500, 550)])
    got = line(client, run)
    assert [got["step"][at] for at in got["breaks"]] == [500]


def test_gaps_stay_gaps_in_thinned_lines(client: Client, run: Run) -> None:
    make_points(run, "loss", np.ones(20_000), steps=[*range(10_000), *range(90_000, 100_000)])
    got = line(client, run, points=100)
    assert [got["step"][at] for at in got["breaks"]] == [90_000]


def test_a_superseded_attempt_is_old_and_the_restart_is_told(client: Client, run: Run) -> None:
    file = make_file(run)
    make_points(run, "loss", [3.0, 2.0, 1.0, 0.5], file=file)
    make_points(run, "loss", [1.5, 1.4], steps=[2, 3], file=file, part=1, wall=WALL + 60)
    got = series(client, run)
    assert [(each["old"], each["step"]) for each in got["lines"]] == [(True, [2, 3]), (False, [0, 1, 2, 3])]
    assert got["restarts"] == [{"writer": 0, "step": 2, "wall": WALL + 60, "reason": "steps went back"}]


def test_a_resumed_file_goes_on_in_the_same_line(client: Client, run: Run) -> None:
    for at in (0, 1):
        wall = WALL + 1000 * at
        file = make_file(run, f"f{at}", first_wall=wall, last_wall=wall + 2)
        make_points(run, "loss", [1.0, 2.0], steps=[2 * at, 2 * at + 1], file=file, wall=wall)
    got = series(client, run)
    assert [each["step"] for each in got["lines"]] == [[0, 1, 2, 3]]
    assert [(one["step"], one["reason"]) for one in got["restarts"]] == [(2, "resumed")]


def test_parallel_writers_are_lines_of_their_own(client: Client, run: Run) -> None:
    for name in ("a", "b"):
        make_points(run, "loss", [1.0, 2.0], file=make_file(run, name))
    got = series(client, run)
    assert [each["writer"] for each in got["lines"]] == [0, 1]
    assert got["writers"] == ["a", "b"]


def test_a_thousand_restarts_are_a_bounded_number_of_lines(client: Client, run: Run) -> None:
    """P20."""
    file = make_file(run)
    for part in range(60):
        make_points(run, "loss", [1.0, 2.0, 3.0], file=file, part=part)
    got = series(client, run)
    assert len(got["lines"]) == curves.OLD_ATTEMPTS + 1
    assert sum(each["count"] for each in got["lines"]) == 180


def test_a_range_brings_finer_points_and_one_beyond_each_edge(client: Client, run: Run) -> None:
    make_points(run, "loss", np.arange(50_000.0))
    got = line(client, run, points=100, **{"from": 20_000, "to": 20_049})
    assert got["step"] == list(range(19_999, 20_051))
    assert (got["thinned"], got["count"]) == (False, 50)


def test_only_the_chunks_of_the_range_are_decoded(client: Client, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from runs import pieces

    make_points(run, "loss", np.arange(50_000.0))
    decoded = []
    unpack = pieces.unpack_into
    monkeypatch.setattr(pieces, "unpack_into", lambda data, *columns: decoded.append(data) or unpack(data, *columns))
    line(client, run, **{"from": 20_000, "to": 20_049})
    assert len(decoded) <= 3


def test_points_fetched_by_several_questions_are_one_line(client: Client, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runs.pieces.AT_ONCE", 2)
    other = make_run(run.source)
    make_points(run, "loss", np.arange(20_000.0))  # five chunks
    make_points(other, "loss", -np.arange(9_000.0))  # three
    answer = client.get("/api/series/", {"run": [run.pk, other.pk], "tag": "loss", "points": "full"}).json()
    mine, its = (one["lines"][0]["value"] for one in answer["series"])
    assert (mine, its) == (list(range(20_000)), [-value for value in range(9_000)])


def test_an_answer_given_up_half_way_leaves_the_connection_to_others(
    client: Client, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runs.pieces.AT_ONCE", 1)  # the second chunk is being fetched when the first is too much
    monkeypatch.setattr("runs.api.series.MAX_ROWS", {"json": 20})
    for one in (run, other := make_run(run.source)):
        make_points(one, "loss", np.arange(20_000.0))
    refused = client.get("/api/series/", {"run": [run.pk, other.pk], "tag": "loss", "points": 100})
    assert "ask for fewer" in problem(refused, 422, "too-much")["detail"]
    assert len(line(client, run, points=10)["value"]) <= 12


def test_a_range_between_two_chunks_still_draws_the_line_across(client: Client, run: Run) -> None:
    steps = np.concatenate([np.arange(4096), np.arange(10_000, 10_200)])
    make_points(run, "loss", np.ones(4296), steps=steps)
    got = line(client, run, **{"from": 6000, "to": 7000})
    assert got["step"] == [4095, 10_000]


def test_a_range_does_not_change_what_is_superseded(client: Client, run: Run) -> None:
    file = make_file(run)
    make_points(run, "loss", np.zeros(10_000), file=file)
    make_points(run, "loss", np.ones(100), steps=range(9_000, 9_100), file=file, part=1)
    got = series(client, run, **{"from": 9_500, "to": 9_600})
    assert {each["old"] for each in got["lines"] if each["count"]} == {True}


def test_wall_time_and_seconds_since_the_start_are_axes_too(client: Client, run: Run) -> None:
    make_points(run, "loss", np.arange(50_000.0))
    by_wall = line(client, run, axis="wall", points=50, **{"from": WALL + 30_000, "to": WALL + 30_009})
    relative = series(client, run, axis="relative", points=50, **{"from": 30_000, "to": 30_009})
    assert by_wall["step"] == relative["lines"][0]["step"] == list(range(29_999, 30_011))
    assert relative["origin"] == WALL


def test_steps_beyond_2_53_are_exact_in_json_and_said_to_be_rounded(client: Client, run: Run) -> None:
    """P4."""
    make_points(run, "loss", [1.0, 2.0], steps=[-(2**63), 2**63 - 1])
    got = line(client, run)
    assert got["step"] == [-(2**63), 2**63 - 1]
    assert got["rounded"]


def test_long_series_are_coarse_until_one_zooms_in(client: Client, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """P20."""
    from runs.api import series as view

    monkeypatch.setattr(view, "curves", lambda *args: curves.curves(*args, budget=15_000))
    values = np.zeros(50_000)
    values[12_345] = 7.0
    make_points(run, "loss", values)
    rough = series(client, run)
    assert rough["coarse"]
    assert max(rough["lines"][0]["value"]) == 7.0
    assert not series(client, run, **{"from": 100, "to": 200})["coarse"]


def test_full_is_every_point(client: Client, run: Run) -> None:
    """P4."""
    values = np.random.default_rng(1).normal(size=20_000)
    make_points(run, "loss", values)
    assert line(client, run, points="full")["value"] == values.tolist()


def test_too_much_in_full_is_refused_with_what_to_narrow(client: Client, run: Run) -> None:
    """P20."""
    make_points(run, "loss", np.zeros(210_000))
    told = problem(asked(client, run, points="full"), 422, "too-much")
    assert "range (from, to)" in told["detail"]
    assert line(client, run, points="full", **{"from": 0, "to": 99})["count"] == 100


def test_the_binary_holds_the_same_to_the_bit(client: Client, run: Run) -> None:
    """P4."""
    values = [1.0, math.nan, math.inf, -math.inf, 5e-324]
    make_points(run, "loss", values)
    make_points(run, "acc", np.sin(np.arange(30_000)))
    answer = client.get("/api/series/", {"run": run.pk, "tag": ["loss", "acc"], "format": "binary", "points": 50})
    assert answer["Content-Type"] == "application/x-trainmon-series"
    loss, acc = unpacked(answer.content)["series"]
    assert loss["lines"][0]["value"].tobytes() == np.array(values).tobytes()
    same = line(client, run, "acc", points=50)
    for name in ("step", "wall", "value", "mean"):
        assert acc["lines"][0][name].tolist() == same[name]


def test_several_runs_and_tags_come_in_the_order_asked_for(client: Client, run: Run, lora: Trainer) -> None:
    other = make_run(run.source)
    for one, tag in ((run, "a"), (run, "b"), (other, "b")):
        make_points(one, tag, [1.0])
    answer = client.get("/api/series/", {"run": [other.pk, run.pk], "tag": ["b", "a", "nothing"]}).json()
    assert [(one["run"], one["tag"]) for one in answer["series"]] == [(other.pk, "b"), (run.pk, "b"), (run.pk, "a")]
    assert [one["name"] for one in answer["runs"]] == [other.name, run.name]


@pytest.mark.parametrize("count", [1, 8])
def test_the_queries_are_the_same_for_any_number_of_series(
    client: Client, run: Run, count: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """P20."""
    runs = [run, *(make_run(run.source) for _ in range(count - 1))]
    for one in runs:
        for tag in ("a", "b"):
            make_points(one, tag, np.arange(5000.0))
    query = {"run": [one.pk for one in runs], "tag": ["a", "b"]}
    with django_assert_num_queries(9):  # and one of the driver's own cursor
        assert len(client.get("/api/series/", query).json()["series"]) == 2 * count


def test_unchanged_points_are_304_and_nothing_is_decoded(
    client: Client, run: Run, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    make_points(run, "loss", [1.0, 2.0])
    first = asked(client, run)
    with django_assert_max_num_queries(4):
        again = client.get("/api/series/", {"run": run.pk, "tag": "loss"}, headers={"If-None-Match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    Run.objects.filter(pk=run.pk).update(version=7)
    changed = client.get("/api/series/", {"run": run.pk, "tag": "loss"}, headers={"If-None-Match": first["ETag"]})
    assert changed.status_code == 200


def test_a_stranger_gets_what_a_missing_run_gets(run: Run, alice: User, charlie: User) -> None:
    """P17."""
    make_points(run, "loss", [1.0])
    hidden = asked(signed_in(charlie), run)
    missing = asked(signed_in(charlie), run.pk + 1000)
    assert problem(hidden, 404, "not-found")["detail"].replace(str(run.pk), "N") == problem(
        missing, 404, "not-found")["detail"].replace(str(run.pk + 1000), "N")
    together = signed_in(charlie).get("/api/series/", {"run": [run.pk], "tag": "loss"}, headers={"If-None-Match": "*"})
    assert together.status_code == 404
    assert asked(by_token(alice, "read"), run).status_code == 200
    assert asked(Client(), run).status_code == 401


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"run": ""}, "run"), ({"run": "x"}, "run"), ({"run": "9" * 30}, "run"), ({"run": ["-1"]}, "run"),
        ({"run": list(range(1, 22))}, "run"), ({"tag": [f"t{n}" for n in range(51)]}, "tag"), ({"tag": "a\0b"}, "tag"),
        ({"points": "9"}, "points"), ({"points": "10001"}, "points"), ({"points": "1e3"}, "points"),
        ({"points": "\u0661\u0660"}, "points"), ({"from": "1e999"}, "from"), ({"from": "nan"}, "from"),
        ({"from": "2", "to": "1"}, "to"), ({"axis": "time"}, "axis"), ({"format": "csv"}, "format"),
    ],
)
def test_a_wrong_question_is_400_and_names_what_is_wrong(client: Client, run: Run, wrong: dict[str, Any], field: str) -> None:
    answer = client.get("/api/series/", {"run": run.pk, "tag": "loss", **wrong})
    assert list(problem(answer, 400, "invalid")["errors"]) == [field]


def test_a_question_without_run_or_tag_is_400(client: Client) -> None:
    assert set(problem(client.get("/api/series/"), 400, "invalid")["errors"]) == {"run", "tag"}


def test_only_the_shown_generation_is_answered(client: Client, run: Run) -> None:
    file = make_file(run)
    make_points(run, "loss", [9.0, 9.0], file=file, generation=0)
    make_points(run, "loss", [1.0, 2.0], file=file, generation=1)
    LogFile.objects.filter(pk=file.pk).update(generation=1)
    assert line(client, run)["value"] == [1.0, 2.0]


def test_points_whose_clock_tells_nothing_are_left_out_of_the_time_axes_only(client: Client, run: Run) -> None:
    make_points(run, "loss", [1.0, 2.0], wall=math.nan)
    assert line(client, run)["wall"] == [None, None]
    assert series(client, run, axis="relative")["lines"] == []
    assert asked(client, run, axis="wall", **{"from": 0, "to": 1}).status_code == 200


def test_a_metric_without_a_name_has_points(client: Client, run: Run) -> None:
    make_points(run, "", [1.0, 2.0])
    answer = client.get(f"/api/series/?run={run.pk}&tag=")
    assert answer.json()["series"][0]["lines"][0]["value"] == [1.0, 2.0]
    assert client.get(f"/api/series/?run={run.pk}").status_code == 400
