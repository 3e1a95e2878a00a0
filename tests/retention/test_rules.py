"""What a policy says of runs, case by case; no database, no disk."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from retention.candidates import Candidate
from retention.models import RetentionPolicy
from retention.rules import Known, faults, judge
from runs.models import Dataset, Trainer

AT = datetime(2026, 11, 1, 12, tzinfo=UTC)
GIB = 1024**3
INF, NAN = float("inf"), float("nan")


def run(number: int, days: float | None, *, size: int = GIB, dataset: str | None = "a", **more: Any) -> Candidate:
    """A run of which nothing came for so many days; None where no file tells."""
    then = None if days is None else AT - timedelta(days=days)
    facts: dict[str, Any] = {
        "root": "/logs", "trainer": "lora", "name": f"run-{number}", "path": b"run-%d" % number, "event_files": 1,
        "points": 1, "modified": then, "last_arrival": then, "last_event": then, "status": "finished", "stage": "active",
        "files_missing": False, "pinned": False, "bookmarked": False, "working": False, "hold": None, "hold_until": None}
    return Candidate(id=number, source_id=1, dataset=dataset, size=size, **{**facts, **more})


def goes(runs: list[Candidate], *, values: dict[int, float | None] | None = None, protected: tuple[int, ...] = (),
         leaving: tuple[int, ...] = (), used: int | None = None, **rule: Any) -> list[int] | str:
    """The ids of who goes, the oldest first; or why the policy refuses."""
    policy = RetentionPolicy(name="p", trainer_id=1, **rule)
    assert faults(policy) == {}
    full = ({}, {"sda": 9 * GIB}) if used is None else ({1: "sda"}, {"sda": used})
    found = judge(policy, runs, Known(dict.fromkeys(protected, "is pinned"), leaving, values, *full), AT)
    ids = [row.id for row, _ in [*found.going, *found.staying, *found.wanted]]
    assert sorted(ids) == sorted(row.id for row in runs), "each run is told of once"
    assert all(why for _, why in [*found.going, *found.staying])
    return found.refused or [row.id for row, _ in found.going]


def days(count: float) -> timedelta:
    return timedelta(days=count)


THREE = [run(1, 30), run(2, 20), run(3, 10)]
LOSS = {"keep_best": 1, "metric": "loss"}
SECOND = 1 / 86400
VOLUME = {"ceiling": 8 * GIB, "ceiling_of": "volume"}


@pytest.mark.parametrize(("runs", "rule", "expected"), [
    # age: the boundary itself has expired, a second less has not
    ([run(1, 10), run(2, 10 - SECOND), run(3, 10 + SECOND)], {"max_age": days(10)}, [3, 1]),
    # nothing that is dated in the future, or not dated, expires by any rule: files, arrival, events
    ([run(1, -1), run(2, None), run(3, 90, last_event=AT + days(1)), run(4, 90, last_arrival=AT + days(9000)), run(5, 90)],
     {"max_age": days(10)}, [5]),
    ([run(1, -1), run(2, None)], {"keep_last": 1}, []),
    ([run(1, -1), run(2, None)], {"ceiling": 1}, []),
    # files that are dated back do not make a run old whose events are young
    ([run(1, 90, last_event=AT - days(1))], {"max_age": days(10)}, []),
    # the newest of each dataset; what lies in the future takes nobody's place
    (THREE, {"keep_last": 2}, [1]),
    ([*THREE, run(4, -3)], {"keep_last": 2}, [1]),
    ([*THREE, run(4, 40, dataset="b"), run(5, 50, dataset=None)], {"keep_last": 1}, [1, 2]),
    (THREE, {"keep_last": 3}, []),
    (THREE, {"keep_last": 9}, []),
    # of two of the same age the one stays that was registered later
    ([run(1, 5), run(2, 5), run(3, 5)], {"keep_last": 1}, [1, 2]),
    # the age says who may go, the newest stay all the same
    (THREE, {"max_age": days(15), "keep_last": 2}, [1]),
    # protected runs stay, and count among the newest
    (THREE, {"keep_last": 1, "protected": (1, 3)}, [2]),
    # one that another cleanup takes stays out of it, and takes nobody's place
    (THREE, {"keep_last": 1, "protected": (3,), "leaving": (3,)}, [1]),
    # the best by the metric: the smallest or the largest; no value, NaN and infinity are never best
    (THREE, {**LOSS, "values": {1: 0.5, 2: 0.1, 3: 0.9}}, [1, 3]),
    (THREE, {**LOSS, "best": "max", "values": {1: 0.5, 2: 0.1, 3: 0.9}}, [1, 2]),
    (THREE, {**LOSS, "values": {1: NAN, 2: 0.3}}, [1, 3]),
    (THREE, {**LOSS, "values": {1: -INF, 2: None, 3: 7.0}}, [1, 2]),
    (THREE, {**LOSS, "best": "max", "values": {1: INF, 2: 5.0}}, [1, 3]),
    (THREE, {**LOSS, "values": {1: 0.5, 2: 0.5, 3: 0.5}}, [1, 2]),
    # where no run of a dataset has a value, nobody knows which are best: all of it stay
    ([*THREE, run(4, 90, dataset="b"), run(5, 80, dataset="b")], {**LOSS, "values": {1: 1.0, 4: NAN}}, [2, 3]),
    (THREE, {**LOSS, "keep_last": 1, "values": {1: 0.1, 2: 0.2, 3: 0.3}}, [2]),
    # the ceiling: exactly full is not over; the oldest go first, and no more than must
    (THREE, {"ceiling": 3 * GIB}, []),
    (THREE, {"ceiling": 3 * GIB - 1}, [1]),
    (THREE, {"ceiling": 2 * GIB, "protected": (1,)}, [2]),
    (THREE, {"ceiling": 1, "protected": (1, 2)}, [3]),
    ([run(1, 30, size=0), run(2, 20)], {"ceiling": 1}, [2]),
    # what goes by its age, or is on its way out already, makes room for the others
    (THREE, {"ceiling": 2 * GIB, "max_age": days(25)}, [1]),
    (THREE, {"ceiling": GIB, "max_age": days(25)}, [1, 2]),
    (THREE, {"ceiling": 2 * GIB, "protected": (1,), "leaving": (1,)}, []),
    (THREE, {"ceiling": GIB, "keep_last": 2}, [1]),
    # of a volume: whatever else lies there counts, too; of one that does not answer nothing goes
    (THREE, {**VOLUME, "used": 8 * GIB}, []),
    (THREE, {**VOLUME, "used": 8 * GIB + 1}, [1]),
    (THREE, {**VOLUME, "used": 9 * GIB + 1}, [1, 2]),
    (THREE, {**VOLUME, "used": 9 * GIB + 1, "max_age": days(15)}, [1, 2]),
    (THREE, {**VOLUME, "used": None}, []),
    (THREE, {**VOLUME, "used": None, "max_age": days(25)}, [1]),
])
def test_who_goes(runs: list[Candidate], rule: dict[str, Any], expected: list[int]) -> None:
    assert goes(runs, **rule) == expected


@pytest.mark.parametrize(("rule", "expected"), [
    ({"most_runs": 3}, [1, 2, 3]),
    ({"most_runs": 2}, "3 runs would go, and its guard lets at most 2 go at once"),
    ({"most_bytes": 3 * GIB}, [1, 2, 3]),
    ({"most_bytes": 3 * GIB - 1}, "3.0 GiB would go, and its guard lets at most 3.0 GiB go at once"),
])
def test_over_a_guard_nothing_goes(rule: dict[str, Any], expected: list[int] | str) -> None:
    """P10."""
    assert goes(THREE, max_age=days(1), **rule) == expected


@pytest.mark.parametrize(("rule", "field", "words"), [
    ({"max_age": days(1)}, "", "neither a trainer nor a dataset"),
    ({"trainer_id": 1}, "", "it has no rule"),
    ({"trainer_id": 1, "most_runs": 5, "keep_pinned": False}, "", "it has no rule"),
    ({"trainer_id": 1, "max_age": timedelta(0)}, "max_age", "under an hour"),
    ({"trainer_id": 1, "max_age": -days(9)}, "max_age", "under an hour"),
    ({"trainer_id": 1, "keep_last": 0}, "keep_last", "keep last 0 keeps nothing"),
    ({"trainer_id": 1, "keep_best": 0, "metric": "loss"}, "keep_best", "keeps nothing"),
    ({"trainer_id": 1, "keep_best": 2}, "metric", "need both a number and a metric"),
    ({"trainer_id": 1, "max_age": days(1), "metric": "loss"}, "keep_best", "need both"),
    ({"trainer_id": 1, "ceiling": 0}, "ceiling", "keeps nothing"),
    ({"trainer_id": 1, "max_age": days(1), "grace": -days(1)}, "grace", "not negative"),
    ({"trainer_id": 1, "max_age": days(1), "grace": days(999999999)}, "grace", "at most ten years"),
    ({"trainer": Trainer(pk=1, name="lora"), "dataset": Dataset(pk=1, name="a", trainer_id=2), "max_age": days(1)},
     "dataset", "the dataset a is not one of the trainer lora"),
])
def test_a_policy_that_is_empty_or_about_everything_is_at_fault(rule: dict[str, Any], field: str, words: str) -> None:
    """P10."""
    assert words in faults(RetentionPolicy(name="p", **rule))[field]
