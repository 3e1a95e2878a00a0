"""Charts and logs that grow on a page: every point and line comes once, and what does not join is said."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runs import logchunks, newer, signals
from runs.models import Job, LogFile, Run, Trainer
from runs.points import SeriesWriter
from runs.readers.records import Lines, Points
from runs.series import ensure_tags
from streaming import tails
from streaming.database import ask
from tests.runs.conftest import signed_in
from tests.runs.factories import make_file, make_run, make_source
from tests.streaming.pages import near, taken_in

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def run(lora: Trainer) -> Run:
    return make_run(make_source(lora), name="qwen")


@pytest.fixture
def file(run: Run) -> LogFile:
    return make_file(run)


def grow(file: LogFile, first: int, count: int, *, tag: str = "loss", part: int = 0, fresh: bool = False) -> None:
    """Store points with their steps for values, as a follower does, and tell of it."""
    ensure_tags([tag])
    with transaction.atomic():
        steps = np.arange(first, first + count, dtype="<i8")
        points = Points(tag, part, steps, steps + 1.7e9, steps.astype("<f4"))
        SeriesWriter(file.run_id, file.pk, 0, fresh=fresh).write([points], shown=True)
        row = Run.objects.select_for_update().get(pk=file.run_id)
        row.version += 1
        row.save()
        signals.tell(runs={row.pk: row.version})


def looked(client: Client, run: Run) -> dict[str, Any]:
    (series,) = client.get("/api/series/", {"run": run.pk, "tag": "loss", "points": "full"}).json()["series"]
    return series


async def test_a_chart_that_was_looked_at_grows_by_every_point_once(alice: User, run: Run, file: LogFile):
    await ask(grow, file, 0, 150, fresh=True)
    series = await ask(looked, await ask(signed_in, alice), run)
    page = await near(alice)
    await page.say(series=[{"run": run.pk, "tag": "loss", "since": series["place"]}])
    await taken_in()
    values, at = series["lines"][0]["value"], 150
    for count in (1, 60, 100, 1, 1000, 3):
        await ask(grow, file, at, count)
        at += count
        (one,) = (await page.frame())["series"]
        values += one["line"]["value"]
        assert one["count"] == at == one["place"][4]
    assert values == list(map(float, range(at)))
    await page.leave()


async def test_what_came_while_a_page_was_away_is_sent_when_it_returns(alice: User, run: Run, file: LogFile):
    await ask(grow, file, 0, 10, fresh=True)
    place = (await ask(looked, await ask(signed_in, alice), run))["place"]
    await ask(grow, file, 10, 500)
    page = await near(alice)
    await page.say(series=[{"run": run.pk, "tag": "loss", "since": place}])
    (one,) = (await page.frame())["series"]
    assert one["line"]["step"] == list(map(float, range(10, 510)))
    await page.leave()


async def test_a_restart_or_a_second_writer_makes_the_page_look_anew(alice: User, run: Run, file: LogFile):
    await ask(grow, file, 0, 10, fresh=True)
    place = (await ask(looked, await ask(signed_in, alice), run))["place"]
    page = await near(alice)
    await page.say(series=[{"run": run.pk, "tag": "loss", "since": place}])
    await taken_in()
    await ask(grow, file, 5, 3, part=1)
    assert (await page.frame())["series"] == [{"run": run.pk, "tag": "loss", "refetch": True}]
    await page.leave()


async def test_the_charts_of_a_job_move_twice_a_second_although_the_page_looks_anew_in_between(
    alice: User, run: Run, file: LogFile
):
    await ask(Job.objects.create, run=run, source_id=run.source_id, external_id="j", status="running")
    await ask(grow, file, 0, 10, fresh=True)
    place = (await ask(looked, await ask(signed_in, alice), run))["place"]
    page, wrote, came = await near(alice), [], []
    for step in range(10, 13):
        wrote.append(asyncio.get_running_loop().time())
        await ask(grow, file, step, 1)
        await page.say(series=[{"run": run.pk, "tag": "loss", "since": place}])
        (one,) = (await page.frame())["series"]
        assert one["line"]["step"][-1] == step
        came.append(asyncio.get_running_loop().time())
    # a frame is no older than what was written for it, and the next one comes half a second after it
    assert all(after - before > 0.49 for before, after in zip(wrote, came[1:], strict=False))
    await page.leave()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(growth=st.lists(st.tuples(st.integers(0, 1), st.integers(1, 300)), min_size=1, max_size=6))
def test_points_join_or_are_said_not_to(run: Run, growth: list[tuple[int, int]]):
    file, ends = make_file(run), {0: 20, 1: 0}
    tag = f"loss-{file.pk}"
    grow(file, 0, 20, tag=tag, fresh=True)
    (series,) = run.series.filter(tag__name=tag)
    place = newer.places([series])[series.pk]
    for part, count in growth:
        grow(file, ends[part], count, tag=tag, part=part)
        ends[part] += count
    new = newer.newer(run.pk, [(tag, place)])[tag]
    if ends[1]:
        assert new is None
    else:
        assert new is not None and new.steps.tolist() == list(range(20, ends[0]))
        series.refresh_from_db()
        assert new.place == newer.places([series])[series.pk]


def write(job: Job, file: LogFile, first: int, count: int) -> None:
    """Lines of a log, as a follower stores them."""
    lines = Lines()
    for number in range(first, first + count):
        lines.add(b'{"ts":"2026-01-02T03:04:05Z","level":"INFO","msg":"line %d"}' % number, 1.7e9, "INFO", "")
    with transaction.atomic():
        row = Job.objects.select_for_update().get(pk=job.pk)
        logchunks.store([((job.pk, file.pk, 0), lines)])
        row.line_count += count
        row.version += 1
        row.save()
        signals.tell(jobs={row.pk: row.version})


async def test_a_log_on_a_page_grows_by_every_line_once(alice: User, run: Run, file: LogFile):
    job = await ask(Job.objects.create, source=run.source, run=run, external_id="train-1")
    await ask(write, job, file, 0, 3)
    page = await near(alice)
    await page.say(tail=[{"job": job.pk, "line": 1}])
    seen: list[str] = []
    for at in (3, 10, 700, 1400):
        while len(seen) < at - 1:
            (part,) = (await page.frame())["tail"]
            assert part["from"] == len(seen) + 1 and "again" not in part
            seen += [line["message"] for line in part["lines"]]
        if at < 1400:
            await ask(write, job, file, at, {3: 7, 10: 690, 700: 700}[at])
    assert seen == [f"line {number}" for number in range(1, 1400)]
    await page.leave()


async def test_a_page_far_behind_gets_the_end_of_a_log(alice: User, run: Run, file: LogFile):
    job = await ask(Job.objects.create, source=run.source, run=run, external_id="train-1")
    await ask(write, job, file, 0, 5000)
    page = await near(alice)
    await page.say(tail=[{"job": job.pk, "line": 0}])
    (part,) = (await page.frame())["tail"]
    assert part["again"] and part["from"] == 5000 - tails.MOST_LINES and part["lines"][-1]["message"] == "line 4999"
    await page.leave()
