"""The hub in one process: what a page shows is rendered once, sent in time, and ends when it may not be seen."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from django.contrib.auth.models import User

from runs.models import Job, Run, Trainer
from streaming import hub, rendering, rounds
from streaming.database import ask
from tests.runs.factories import make_run, make_source
from tests.streaming.pages import near, taken_in
from tests.streaming.sites import change

pytestmark = pytest.mark.django_db(transaction=True)


async def changed(run: Run, **fields: Any) -> int:
    return await ask(change, run, **fields)


@pytest.fixture
def run(lora: Trainer) -> Run:
    return make_run(make_source(lora), name="qwen", step=1)


def row(run: Run, version: int = 0, spec: str = "column=step") -> dict[str, Any]:
    return {"kind": "run-row", "id": run.pk, "version": version, "spec": spec}


async def test_a_page_gets_what_changed_at_once_and_the_hub_ends_with_the_last_page(
    alice: User, run: Run, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(hub, "POLL", 3600)  # it is told, and need not be looked for
    page = await near(alice)
    await page.say(watch=[row(run, -1)])
    await page.frame()
    version = await changed(run, step=4711)
    frame = await page.frame()
    (fragment,) = frame["fragments"]
    assert fragment["version"] == version and fragment["html"].startswith(f'<tr id="run-{run.pk}" data-version="{version}"')
    assert "4,711" in fragment["html"] and frame["seq"] == 2
    await page.leave()
    assert hub._hub is None


async def test_a_page_that_missed_changes_gets_the_state_when_it_says_what_it_has(alice: User, run: Run):
    version = await changed(run, step=12)
    page = await near(alice)
    await page.say(watch=[row(run, version)])
    assert await page.quiet(0.5)
    await page.say(watch=[row(run, version - 1)])
    (fragment,) = (await page.frame())["fragments"]
    assert fragment["version"] == version
    await page.leave()


async def test_many_changes_are_ten_frames_a_second_and_the_last_state(alice: User, run: Run):
    page = await near(alice)
    await page.say(watch=[row(run)])
    await taken_in()
    begun, seen, at = time.monotonic(), [], []
    last = 0
    for step in range(100):
        last = await changed(run, step=step)
        await asyncio.sleep(0.01)
    while not seen or seen[-1] < last:
        frame = await page.frame()
        at.append(time.monotonic())
        seen.append(frame["fragments"][0]["version"])
    assert seen == sorted(set(seen)) and seen[-1] == last
    assert len(seen) <= (at[-1] - begun) * 10 + 2
    await page.leave()


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The runs of which a row was rendered, in turn."""
    found: list[int] = []
    kind = rendering.KINDS["run-row"]

    def counted(ids: Any, spec: str) -> Any:
        found.extend(ids)
        return kind.render(ids, spec)

    monkeypatch.setitem(rendering.KINDS, "run-row", type(kind)(kind.subject, counted, kind.check))
    return found


async def test_what_a_page_cannot_be_sent_yet_is_rendered_when_it_can(alice: User, run: Run, rendered: list[int]):
    page = await near(alice)
    await page.say(watch=[row(run, -1)])
    await page.frame()
    here, subject = hub.start(), ("run", run.pk)
    (reader,) = here.readers
    reader.due = until = here.loop.time() + 3600
    versions = [await changed(run, step=step) for step in (7, 8)]
    while here.version_of(subject) < versions[-1]:
        await asyncio.sleep(0.01)
    assert here.rounds.dirty == {subject: until} and rendered == [run.pk]
    reader.due = 0.0
    last = await changed(run, step=9)
    assert (await page.frame())["fragments"][0]["version"] == last and rendered == [run.pk] * 2
    await page.leave()


async def test_a_page_of_a_job_and_its_run_hears_of_both_together(alice: User, run: Run):
    job = await ask(Job.objects.create, run=run, source_id=run.source_id, external_id="j", status="running")
    page = await near(alice)
    await page.say(watch=[row(run, -1), {"kind": "job-progress", "id": job.pk, "version": -1}])
    assert len((await page.frame())["fragments"]) == 2
    here = hub.start()
    (reader,) = here.readers
    assert {reader.due} == set(here.rounds.not_before.values()) and len(here.rounds.not_before) == 2
    await page.leave()


async def test_a_fragment_is_rendered_once_for_all_pages(alice: User, bob: User, run: Run, rendered: list[int]):
    pages = [await near(user) for user in (alice, bob, alice)]
    for page in pages:
        await page.say(watch=[row(run)])
    await taken_in(3)
    await changed(run, step=2)
    frames = [await page.frame() for page in pages]
    assert len({frame["fragments"][0]["html"] for frame in frames}) == 1 and rendered == [run.pk]
    for page in pages:
        await page.leave()


async def test_what_one_may_not_see_is_as_gone_as_what_is_not_there(alice: User, charlie: User, run: Run):
    page = await near(charlie)
    await page.say(watch=[row(run, -1), {"kind": "run-row", "id": 2**62}])
    assert {one["id"] for one in (await page.frame())["gone"]} == {run.pk, 2**62}
    await changed(run, step=2)
    assert await page.quiet(0.5)
    await page.leave()


async def test_a_deleted_run_is_gone_within_seconds(alice: User, run: Run):
    page = await near(alice)
    await page.say(watch=[row(run)])
    await taken_in()
    pk = run.pk
    await ask(run.delete)
    assert (await page.frame(15))["gone"] == [{"kind": "run-row", "id": pk}]
    await page.leave()


async def test_a_list_hears_of_new_runs_of_sources_that_its_user_sees(alice: User, charlie: User, run: Run):
    from runs import signals

    mine, other = await near(alice), await near(charlie)
    for page in (mine, other):
        await page.say(lists=True)
    await taken_in(2)
    await ask(signals.tell, sources=[run.source_id])
    assert (await mine.frame())["sources"] is True
    assert await other.quiet(0.5)
    for page in (mine, other):
        await page.leave()


async def test_a_new_run_is_heard_of_although_its_notice_was_lost(alice: User, run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hub, "POLL", 0.1)
    page = await near(alice)
    await page.say(lists=True)
    async with asyncio.timeout(15):
        while hub.start().newest_run is None:
            await asyncio.sleep(0.01)
    await ask(make_run, run.source)
    assert (await page.frame(15))["sources"] is True
    await page.leave()


async def test_a_change_whose_notice_is_lost_is_found_within_seconds(alice: User, run: Run):
    page = await near(alice)
    await page.say(watch=[row(run)])
    await taken_in()
    version = await changed(run, told=False, step=4711)
    (fragment,) = (await page.frame(10))["fragments"]
    assert fragment["version"] == version and "4,711" in fragment["html"]
    await page.leave()


async def test_who_asks_for_much_keeps_nobody_waiting(alice: User, bob: User, run: Run, monkeypatch: pytest.MonkeyPatch):
    """Ten sockets of one viewer, a thousand rows each in columns of their own: others' first row came after 20 s."""
    made: list[dict[tuple[str, str], set[int]]] = []

    def seen(subjects: Any, wanted: Any, held: Any) -> Any:
        made.append(wanted)
        return rendering.render(subjects, wanted, held)

    monkeypatch.setattr(rounds, "render", seen)
    monkeypatch.setattr(rounds, "ROUND", 2 * rounds.A_SPEC + 3)
    runs = [run, *(await ask(lambda: [make_run(run.source) for _ in range(11)]))]
    greedy, modest = await near(bob), await near(alice)
    await asyncio.gather(
        greedy.say(watch=[row(one, -1, f"column=param:{n}") for n in range(4) for one in runs]),
        modest.say(watch=[row(runs[-1], -1)]),
    )
    assert (await modest.frame())["fragments"]
    came = 0
    while came < 48:
        came += len((await greedy.frame())["fragments"])
    mine = next(place for place, wanted in enumerate(made) if ("run-row", "column=step") in wanted)
    assert mine <= 1 and len(made) > 4 and all(sum(map(len, wanted.values())) <= rounds.ROUND for wanted in made)
    monkeypatch.setattr(hub, "MOST_SHOWN", 48)
    await greedy.say(watch=[row(one, -1, f"column=param:{n}") for n in range(5) for one in runs])
    assert "close some" in (await greedy.frame())["refused"]
    for page in (greedy, modest):
        await page.leave()


async def test_the_pages_of_one_user_ask_one_after_the_other(monkeypatch: pytest.MonkeyPatch):
    running: list[int] = []
    most = 0

    async def asked(question: Any, *args: Any) -> Any:
        nonlocal most
        running.append(1)
        most = max(most, len(running))
        await asyncio.sleep(0.01)
        running.pop()
        return args[0]

    here = hub.Hub()
    monkeypatch.setattr(hub, "ask", asked)
    assert await asyncio.gather(*(here.share(7, n, None, n) for n in range(5))) == [0, 1, 2, 3, 4]  # type: ignore[arg-type]
    assert most == 1
    await asyncio.gather(*(here.share(user, (user, "x"), None, 1) for user in (7, 8)))  # type: ignore[arg-type]
    assert most == 2
