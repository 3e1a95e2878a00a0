"""The admin of trainers, sources, runs, jobs and log files."""

from __future__ import annotations

from queue import Empty
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from runs.models import Job, Run, Source, Trainer
from tests.runs.conftest import signed_in
from tests.runs.factories import make_file, make_run, make_source, make_trainer
from trainmon.celery import app

if TYPE_CHECKING:
    from pytest_django import DjangoAssertNumQueries

pytestmark = pytest.mark.django_db
LISTS = ["trainer", "source", "run", "job", "logfile"]


@pytest.fixture
def client(bob: User) -> Client:
    return signed_in(bob)


@pytest.fixture
def source(lora: Trainer) -> Source:
    return make_source(lora, root="/logs/lora")


@pytest.fixture
def run(source: Source) -> Run:
    run = make_run(source, name="qwen-r16", dataset="alpaca", path=b"caf\xe9", params={"lr": 0.1})
    make_file(run).__class__.objects.update(path=b"caf\xe9/events", damages=[{"offset": 7, "kind": "payload crc"}])
    Job.objects.create(source=source, run=run, external_id="job-7")
    return run


def act(client: Client, name: str, *sources: Source) -> str:
    form = {"action": name, "_selected_action": [source.pk for source in sources]}
    return client.post(reverse("admin:runs_source_changelist"), form, follow=True).content.decode()


def queued() -> list[list[int]]:
    """The arguments of what the site has put into the workers' queue; empties it."""
    found = []
    with app.connection_for_read() as broker, broker.SimpleQueue(app.conf.task_default_queue) as queue:
        while True:
            try:
                message = queue.get_nowait()
            except Empty:
                return found
            assert message.headers["task"] == "runs.tasks.sync_source"
            found.append(message.payload[0])
            message.ack()


def test_sync_now_asks_the_workers(client: Client, source: Source) -> None:
    off = make_source(source.trainer, enabled=False)
    assert queued() == []
    page = act(client, "sync_now", source, off)
    assert queued() == [[source.pk]]
    assert "Asked for a sync of 1 source." in page
    assert "1 disabled, and so not synced." in page


def test_sync_now_does_not_reach_a_source_of_others(client: Client, source: Source) -> None:
    hidden = make_source(make_trainer("router", "team-router"))
    act(client, "sync_now", hidden)
    assert queued() == []


def test_the_loss_of_runs_is_confirmed_by_hand(client: Client, source: Source) -> None:
    page = act(client, "confirm_loss", source)
    source.refresh_from_db()
    assert source.loss_confirmed
    assert "Confirmed for 1 source" in page


def test_a_relative_root_is_refused_in_words(client: Client, lora: Trainer) -> None:
    form = {"trainer": lora.pk, "root": "logs/new", "layout": "auto", "enabled": "on"}
    page = client.post(reverse("admin:runs_source_add"), form)
    assert page.status_code == 200
    assert "is not an absolute path" in page.content.decode()
    assert not Source.objects.exists()


def test_saving_a_source_leaves_alone_what_a_sync_has_written_meanwhile(client: Client, source: Source) -> None:
    change = reverse("admin:runs_source_change", args=[source.pk])
    client.get(change)
    Source.objects.update(last_error="found by a sync", leased_by="worker-1")
    client.post(change, {"trainer": source.trainer_id, "root": source.root, "layout": "flat", "enabled": "on"})
    source.refresh_from_db()
    assert (source.layout, source.last_error, source.leased_by) == ("flat", "found by a sync", "worker-1")


def test_a_trainer_shows_its_sources_inline(client: Client, source: Source) -> None:
    page = client.get(reverse("admin:runs_trainer_change", args=[source.trainer_id])).content.decode()
    assert "/logs/lora" in page


@pytest.mark.parametrize("model", LISTS)
def test_every_list_can_be_searched_and_filtered(client: Client, run: Run, model: str) -> None:
    listed = reverse(f"admin:runs_{model}_changelist")
    assert client.get(f"{listed}?q=qwen").status_code == 200
    page = client.get(listed).content.decode()
    assert 'id="changelist-filter"' in page
    assert 'id="searchbar"' in page


@pytest.mark.parametrize("model", LISTS)
def test_every_row_can_be_opened(client: Client, run: Run, model: str) -> None:
    row = {"trainer": run.source.trainer_id, "source": run.source_id, "run": run.pk,
           "job": run.jobs.get().pk, "logfile": run.log_files.get().pk}[model]
    assert client.get(reverse(f"admin:runs_{model}_change", args=[row])).status_code == 200


def test_paths_that_are_not_utf8_are_shown_escaped(client: Client, run: Run) -> None:
    assert "caf\\xe9/events" in client.get(reverse("admin:runs_logfile_changelist")).content.decode()
    page = client.get(reverse("admin:runs_run_change", args=[run.pk])).content.decode()
    assert "/logs/lora/caf\\xe9" in page


@pytest.mark.parametrize("model", ["run", "job", "logfile"])
def test_facts_are_neither_added_nor_deleted_by_hand(ada: User, run: Run, model: str) -> None:
    client = signed_in(ada)
    row = {"run": run.pk, "job": run.jobs.get().pk, "logfile": run.log_files.get().pk}[model]
    assert client.get(reverse(f"admin:runs_{model}_add")).status_code == 403
    assert client.post(reverse(f"admin:runs_{model}_delete", args=[row]), {"post": "yes"}).status_code == 403
    many = {"action": "delete_selected", "_selected_action": [row], "post": "yes"}
    client.post(reverse(f"admin:runs_{model}_changelist"), many)
    assert Run.objects.filter(pk=run.pk, jobs__isnull=False, log_files__isnull=False).exists()


def test_what_a_log_says_cannot_be_changed(client: Client, run: Run) -> None:
    form = {"name": "renamed", "tags": "", "status": "failed", "step": "999", "lifecycle_stage": "purged"}
    client.post(reverse("admin:runs_run_change", args=[run.pk]), form)
    run.refresh_from_db()
    assert (run.name, run.status, run.step, run.lifecycle_stage) == ("renamed", "finished", None, "active")


def test_a_trainer_with_runs_is_not_deleted(ada: User, run: Run) -> None:
    signed_in(ada).post(reverse("admin:runs_trainer_delete", args=[run.source.trainer_id]), {"post": "yes"})
    assert Run.objects.filter(pk=run.pk).exists()


@pytest.mark.parametrize(("model", "queries"), [("trainer", 9), ("source", 8), ("run", 8), ("job", 8), ("logfile", 8)])
def test_a_list_costs_the_same_queries_whatever_its_length(
    client: Client, source: Source, model: str, queries: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """P20."""
    for number in range(30):
        run = make_run(make_source(make_trainer(f"t{number}")), dataset=f"d{number}")
        make_file(run)
        Job.objects.create(source=run.source, run=run, external_id=f"job-{number}")
    with django_assert_num_queries(queries):
        client.get(reverse(f"admin:runs_{model}_changelist"))
