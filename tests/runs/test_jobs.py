"""The pages of jobs: the list in all states, the overview, asking to stop."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import now

from runs.models import AuditEntry, Event, Job, Source
from tests.runs.conftest import signed_in
from tests.runs.factories import make_file, make_full_job, make_job, make_run

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from pytest_django.fixtures import DjangoAssertNumQueries



def job(source: Source, name: str, status: str = "running", **fields: Any) -> Job:
    return make_job(make_run(source, name=f"run of {name}", status=status), name, status=status, **fields)


def listed(user: User, question: str = "") -> list[str]:
    answer = signed_in(user).get(f"/jobs/?{question}")
    assert answer.status_code == 200, answer.content
    return [one.external_id for one in answer.context["jobs"]]


def test_jobs_of_every_state_are_listed_the_latest_first(source: Source, alice: User) -> None:
    """ISG-43: failed and cancelled jobs are no worse than completed ones (B46)."""
    states = ("queued", "running", "finished", "failed", "killed", "lost", "unknown")
    for place, status in enumerate(states):
        job(source, f"job-{status}", status, last_event=now() - timedelta(minutes=place))
    assert listed(alice) == [f"job-{status}" for status in states]
    page = signed_in(alice).get("/jobs/").content.decode()
    assert all(f'href="#s-{status}"' in page for status in states)


@pytest.mark.parametrize(("question", "found"), [
    ("status=failed", ["oom"]), ("status=cancelled", ["stopped"]), ("status=failed&status=killed", ["oom", "stopped"]),
    ("error_type=OutOfMemoryError", ["oom"]), ("q=cuda+memory", ["oom"]), ("q=run+of+going", ["going"]), ("q=100%25", []),
    ("trainer=lora", ["going", "oom", "stopped"]),
])  # fmt: skip
def test_the_list_is_narrowed(source: Source, alice: User, question: str, found: list[str]) -> None:
    """ISG-67: errors are found by their type."""
    job(source, "going")
    job(source, "oom", "failed", error="CUDA out of memory", error_type="OutOfMemoryError", last_event=now() - timedelta(1))
    job(source, "stopped", "killed", word="cancelled", last_event=now() - timedelta(2))
    assert listed(alice, question) == found


def test_jobs_of_a_run_and_stalled_ones_are_found(source: Source, alice: User) -> None:
    run = make_run(source, status="running", stalled=True)
    make_job(run, "still")
    job(source, "other")
    assert listed(alice, f"run={run.pk}") == listed(alice, "status=stalled") == ["still"]


@pytest.mark.parametrize("question", [
    "status=happy", "trainer=nobody", "run=x", "run=-1", "limit=9999", "after=%00", "after=abc", "before=e30", "q=%21%21",
    "q=" + "x" * 300, "after=a&before=b",
])  # fmt: skip
def test_a_wrong_question_is_told_and_keeps_what_was_asked(source: Source, alice: User, question: str) -> None:
    answer = signed_in(alice).get(f"/jobs/?{question}")
    assert answer.status_code == 400
    assert "This list cannot be shown" in answer.content.decode()


def test_a_walk_through_the_pages_meets_each_job_once_in_both_directions(source: Source, alice: User) -> None:
    run, at = make_run(source), now()
    for place in range(11):  # some of the same moment, some that never said anything
        make_job(run, f"job-{place}", last_event=None if place % 4 == 0 else at - timedelta(seconds=place // 3))
    client, seen, query = signed_in(alice), [], "limit=3"
    while True:
        page = client.get(f"/jobs/?{query}").context["page"]
        seen.append([one.pk for one in page.rows])
        if page.after is None:
            break
        query = f"limit=3&after={page.after}"
    back = client.get(f"/jobs/?limit=3&before={page.before}").context["page"]
    assert sorted(sum(seen, [])) == sorted(Job.objects.values_list("pk", flat=True))
    assert len(seen) == 4
    assert [one.pk for one in back.rows] == seen[-2]


def test_a_page_costs_the_same_queries_however_many_jobs_it_shows(
    source: Source, alice: User, django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    client = signed_in(alice)
    for place in range(30):
        make_full_job(make_run(source), external_id=f"job-{place}")
    with django_assert_max_num_queries(17):
        assert len(client.get("/jobs/").context["jobs"]) == 30


def test_the_newest_jobs_are_read_along_an_index(source: Source, alice: User) -> None:
    with CaptureQueriesContext(connection) as asked:
        signed_in(alice).get("/api/jobs/")
    walk = next(one["sql"] for one in asked.captured_queries if "sort_value" in one["sql"])
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_sort = off; SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {walk}")
        plan = str(cursor.fetchall())
    assert "job_by_last_event" in plan and "Sort" not in plan


def test_strangers_see_no_job(source: Source, charlie: User) -> None:
    hidden = job(source, "secret-job")
    assert listed(charlie) == []
    client = signed_in(charlie)
    assert {client.get(f"/jobs/{hidden.pk}/{tab}").status_code for tab in ("", "logs/", "samples/", "checkpoints/")} == {404}


def test_the_overview_shows_what_was_last_said(source: Source, alice: User) -> None:
    """ISG-27, 28, 44, 47, 52, 53."""
    shown = make_full_job(make_run(source, status="running"))
    page = signed_in(alice).get(shown.get_absolute_url()).content.decode()
    for said in (shown.external_id, "40.0 %", "0.05120", "1.000e-04", "1.250", "8 m 00 s", "1 h 00 m",
                 "GPU 0, H100", "GPU 1, H100", "512.5", "loading_model", "model.safetensors", "optimizer.lr", "adamw", "corr-42"):
        assert said in page or said.replace("1.000e-04", "0.0001000") in page, said
    assert page.count('class="card gpu"') == 2
    assert page.count("data-bar=") == 2


def test_zero_is_a_value_and_null_a_dash(source: Source, alice: User) -> None:
    """B47: 0 W, a loss of 0 and a negative one are shown; without a total there is no bar."""
    zero = make_full_job(make_run(source), step=0, loss=0.0, lr=0.0, speed=0.0, eta_seconds=0.0)
    bare = make_job(make_run(source), loss=-3.25, total_steps=None, gpus=[])
    client = signed_in(alice)
    cards = client.get(zero.get_absolute_url()).content.decode().split('class="metric-cards"')[1].split("</dl>")[0]
    values = [re.sub("<[^>]*>", "", value) for value in re.findall("<dd>(.*?)</dd>", cards)]
    assert values[:6] == ["0 / 1,000", "0.0 %", "0", "0", "0 steps/s", "0 s"]
    assert "0 W" in client.get(zero.get_absolute_url()).content.decode()
    page = client.get(bare.get_absolute_url()).content.decode()
    assert "-3.250" in page
    assert 'class="whole' not in page
    assert 'aria-label="GPUs"' not in page


def test_a_failed_job_shows_type_message_stack_and_the_first_error(source: Source, alice: User) -> None:
    """ISG-50."""
    failed = job(source, "oom", "failed", error="exited with code 1", error_type="RuntimeError", error_stack="Traceback: line 3")
    where = {"run": failed.run, "job": failed, "log_file": make_file(failed.run), "generation": 0, "level": "ERROR"}
    Event.objects.create(**where, offset=9, at=now(), kind="exit", message="second")
    Event.objects.create(**where, offset=5, at=now() - timedelta(minutes=1), kind="subprocess.stderr", message="CUDA is <full>")
    page = signed_in(alice).get(failed.get_absolute_url()).content.decode()
    for said in ("RuntimeError", "exited with code 1", "Traceback: line 3", "First error", "CUDA is &lt;full&gt;"):
        assert said in page, said


def test_odd_words_of_a_trainer_break_no_page(source: Source, alice: User) -> None:
    odd = make_full_job(make_run(source), stages=[["x", None], "y", ["z", 1e300], ["z", -5e9], [None, 5], ["s", 7.5, 1]],
                        gpus=[None, {}, {"index": "<b>", "utilization": "high", "memory_total": 0, "memory_used": 1}],
                        bars={"<i>": {"value": 250}, "b": None, "c": {"current": 1, "total": 0}}, config=[1, 2],
                        external_id="<script>" + "x" * 150, message="\u202e" + "m" * 2000, stage="<s>")
    page = signed_in(alice).get(odd.get_absolute_url())
    assert page.status_code == 200
    assert b"<script>x" not in page.content
    assert signed_in(alice).get("/jobs/").status_code == 200


def test_an_operator_asks_a_job_to_stop_once(source: Source, bob: User) -> None:
    """ISG-58: a request, which the trainer answers."""
    asked = job(source, "going", asked=now())
    client = signed_in(bob)
    assert "Ask it to stop" in client.get(asked.get_absolute_url()).content.decode()
    for _ in range(2):
        assert client.post(f"/jobs/{asked.pk}/cancel/", follow=True).status_code == 200
    after = Job.objects.get(pk=asked.pk)
    assert after.status == "running"
    assert (after.cancel_requested_by, after.version) == (bob, asked.version + 1)
    assert AuditEntry.objects.filter(action="cancel job", object_id=asked.pk).count() == 1
    assert "asked to stop" in client.get(asked.get_absolute_url()).content.decode()


def test_a_job_that_never_asks_cannot_be_stopped_and_says_so(source: Source, bob: User) -> None:
    deaf = job(source, "deaf")
    client = signed_in(bob)
    assert "Cancel: unsupported" in client.get(deaf.get_absolute_url()).content.decode()
    answer = client.post(f"/jobs/{deaf.pk}/cancel/", follow=True)
    assert "never asks whether it shall stop" in answer.content.decode()
    assert Job.objects.get(pk=deaf.pk).cancel_requested is None


def test_viewers_do_not_stop_jobs(source: Source, alice: User) -> None:
    asked = job(source, "going", asked=now())
    client = signed_in(alice)
    assert client.post(f"/jobs/{asked.pk}/cancel/").status_code == 403
    assert "Ask it to stop" not in client.get(asked.get_absolute_url()).content.decode()
    assert Job.objects.get(pk=asked.pk).cancel_requested is None
