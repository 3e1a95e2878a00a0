"""Every order, walked page by page in both directions, shows every run exactly once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.http import QueryDict
from django.utils.timezone import now

from runs.models import Note, Run, Source
from runs.query import RunQuery
from runs.query.sorting import PLAIN
from tests.runs.factories import make_points, make_run, make_source, make_trainer

Walk = tuple[list[list[Run]], list[str | None]]
NAN, INF = float("nan"), float("inf")
KEYS = [*PLAIN, "last(loss)", "min(loss)", "max(loss)", "last(nowhere)", "param:lr", "param:opt.name", "param:mixed"]


def ask(user: User, **conditions: Any) -> RunQuery:
    query = QueryDict(mutable=True)
    for key, value in conditions.items():
        query.setlist(key, value if isinstance(value, list) else [value])
    return RunQuery(query, user)


def walk(user: User, sort: str, side: str = "after", at: str | None = None, limit: int = 8) -> Walk:
    """The pages from a place to the end, and the cursor of the page before each."""
    pages, cursors = [], []
    while True:
        query = ask(user, sort=sort, limit=str(limit), **({side: at} if at else {}))
        assert query.is_valid(), query.errors
        page = query.page()
        pages.append(page.rows)
        cursors.append(page.before)
        at = page.after if side == "after" else page.before
        if at is None or len(pages) > 50:
            return pages, cursors


def flat(pages: Walk | Sequence[Sequence[Run]]) -> list[int]:
    pages = pages[0] if isinstance(pages, tuple) else pages
    return [run.pk for page in pages for run in page]


@pytest.fixture
def mixture(source: Source) -> list[int]:
    """Twenty runs: ties, missing values, NaN and infinities in every column."""
    other, began = make_source(make_trainer("router")), now() - timedelta(days=3)
    odd = [0.1, 0.1, 0.1, -0.0, 0.0, 1e-320, INF, -INF, NAN, NAN, None, None, 0.30000000000000004, 0.3]
    made = []
    for number in range(20):
        some = number % 3 != 0
        run = make_run(
            other if number % 4 == 0 else source, name=["Same", "same", "äther", "Zoë", "\N{ROCKET} x"][number % 5],
            dataset=["", "a", "B"][number % 3], started=began + timedelta(seconds=number // 4) if some else None,
            modified=began + timedelta(microseconds=number // 3) if number % 5 else None,
            status=["running", "finished", "failed"][number % 3], step=number // 2 if some else None,
            total_steps=[None, 0, 10, 20][number % 4], epoch=[None, 1.5, NAN, INF][number % 4], size=number // 5,
            host=["", "gpu-1", "gpu-2"][number % 3], gpu_type=["", "A100"][number % 2],
            params=[{}, {"lr": 0.1, "mixed": "word"}, {"lr": "1e-3", "opt": {"name": "adam"}, "mixed": 3},
                    {"lr": None, "mixed": [1]}][number % 4],
        )
        value = odd[number % len(odd)]
        if value is not None:
            make_points(run, ["loss", "eval/loss"][number % 7 == 6], [value])
            make_points(run, "loss", [value])
        if number % 6 == 0:
            Note.objects.create(run=run, text="x")
        made.append(run.pk)
    return made


def test_every_order_shows_every_run_once_forwards_and_backwards(mixture: list[int], ada: User) -> None:
    for sort in [sign + key for key in KEYS for sign in ("", "-")]:
        whole = flat(walk(ada, sort, limit=500))
        pages, cursors = walk(ada, sort)
        assert sorted(whole) == mixture, sort
        assert flat(pages) == whole, sort
        assert [len(page) for page in pages] == [8, 8, 4]
        back, _ = walk(ada, sort, "before", cursors[-1])
        assert back == pages[-2::-1], sort


def test_the_other_direction_turns_the_values_and_leaves_the_missing_last(mixture: list[int], ada: User) -> None:
    """CH-29."""
    for key in KEYS:
        query = ask(ada, column=[key], limit="500")
        (column,) = [column for column in query.columns if column.key == key]
        up, down = ([column.cell(run) for run in ask(ada, sort=sort, column=[key], limit="500").page().rows]
                    for sort in (key, f"-{key}"))
        there = sum(value is not None and value == value and value != "" for value in up)
        if key not in ("gpu", "param:mixed"):
            assert all(value is None or value != value for value in [*up[there:], *down[there:]]), key
        if key not in ("status", "name", "tags", "param:lr", "param:mixed", "trainer", "dataset", "gpu"):
            assert up[:there] == sorted(up[:there]), key
            assert down[:there] == sorted(up[:there], reverse=True), key


def test_pages_stay_right_when_runs_come_go_and_move(source: Source, alice: User) -> None:
    """A place is a value and an id, not a count of rows."""
    runs = [make_run(source, size=number) for number in range(9)]
    first = ask(alice, sort="size", limit="3").page()
    runs[0].delete()
    make_run(source, size=-1)
    Run.objects.filter(pk=runs[2].pk).update(size=100)  # the row that the cursor was made of moves away
    second = ask(alice, sort="size", limit="3", after=first.after).page()
    assert [run.size for run in second.rows] == [3, 4, 5]
    assert [run.size for run in ask(alice, sort="size", limit="5", before=second.before).page().rows] == [-1, 1]


def test_a_page_that_has_become_empty_leads_nowhere(source: Source, alice: User) -> None:
    for number in range(4):
        make_run(source, size=number)
    page = ask(alice, sort="size", limit="2").page()
    Run.objects.filter(size__gt=1).delete()
    empty = ask(alice, sort="size", limit="2", after=page.after).page()
    assert (empty.rows, empty.after, empty.before) == ([], None, None)


def test_an_export_walks_over_all_and_ids_are_in_order(mixture: list[int], ada: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runs.query.question.LONGEST_PAGE", 3)
    query = ask(ada, sort="-last(loss)")
    assert [run.pk for run in query.iterate()] == query.ids(100) == flat(walk(ada, "-last(loss)"))
    assert query.ids(4) == query.ids(100)[:4]


def test_a_cursor_belongs_to_its_order(mixture: list[int], ada: User) -> None:
    cursor = ask(ada, sort="size", limit="3").page().after
    for sort in ("-size", "points", "last(loss)"):
        query = ask(ada, sort=sort, after=cursor)
        assert not query.is_valid()
        assert "another order" in str(query.errors)
        assert query.page().rows == [] and query.totals()["runs"] == 0


def test_infinity_is_the_greatest_and_nan_is_missing(source: Source, alice: User) -> None:
    for name, value in (("inf", INF), ("-inf", -INF), ("nan", NAN), ("one", 1.0), ("none", None)):
        run = make_run(source, name=name)
        if value is not None:
            make_points(run, "loss", [value])
    assert [run.name for run in ask(alice, sort="last(loss)").page().rows] == ["-inf", "one", "inf", "nan", "none"]
    assert [run.name for run in ask(alice, sort="-last(loss)").page().rows] == ["inf", "one", "-inf", "none", "nan"]
