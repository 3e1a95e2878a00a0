"""The pages of a trainer and of a source, and syncing a source by hand."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from runs.models import AuditEntry, Source, Trainer
from tests.runs.conftest import signed_in, words_of
from tests.runs.factories import make_points, make_run, make_source, make_trainer
from tests.runs.test_admin import queued
from tests.runs.test_pages import EVIL, text

if TYPE_CHECKING:
    from pytest_django import DjangoAssertMaxNumQueries

pytestmark = pytest.mark.django_db


def sync(client: Client, source: Source) -> str:
    return client.post(reverse("source-sync", args=[source.pk]), follow=True).content.decode()


def test_a_trainer_tells_who_sees_it_and_how_its_runs_stand(client: Client, source: Source, lora: Trainer) -> None:
    Trainer.objects.update(description="Adapters for the 7B", gpu_type="H100", gpu_count=8)
    for status in ("finished", "failed", "running"):
        make_run(source, name=f"the-{status}", status=status, size=1 << 20)
    shown = text(client, lora.get_absolute_url())
    for words in ("Adapters for the 7B", "team-lora", "8 × H100", "/logs/lora", "synced", "the-failed", "3.0 MiB", "3 runs"):
        assert words in shown


def test_datasets_come_with_mean_least_and_best_of_the_main_metric(client: Client, source: Source, lora: Trainer) -> None:
    """CH-56."""
    for last in (0.5, 0.25, float("nan")):
        make_points(make_run(source, dataset="alpaca"), "train/loss", [3.0, last])
    make_run(source, dataset="empty")
    make_points(make_run(source, dataset="odd"), "loss", [1.0])
    make_points(make_run(source), "loss", [1.0])  # of no dataset
    shown = text(client, lora.get_absolute_url())
    assert "Datasets by last train/loss" in shown
    assert "alpaca 3 0.3750 0.2500 0.5000 0.2500" in shown
    assert "empty 1 – – – –" in shown


def test_a_trainer_without_a_source_says_which_command_adds_one(client: Client, lora: Trainer) -> None:
    assert "manage.py sync_runs lora=/path/to/logs" in text(client, lora.get_absolute_url())


def test_a_hidden_trainer_and_a_missing_one_look_the_same(client: Client) -> None:
    hidden = make_trainer("router", "team-router")
    answers = [client.get(hidden.get_absolute_url()), client.get("/trainers/nothing/")]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert words_of(answers[0]) == words_of(answers[1])
    assert client.get(make_source(hidden).get_absolute_url()).status_code == 404


def test_a_trainer_costs_the_same_queries_whatever_it_has(
    client: Client, lora: Trainer, django_assert_max_num_queries: DjangoAssertMaxNumQueries
) -> None:
    """P20."""
    for number in range(12):
        source = make_source(lora)
        make_points(make_run(source, dataset=f"d{number}", status="running"), "loss", [1.0, 2.0])
    with django_assert_max_num_queries(29):
        client.get(lora.get_absolute_url())


def test_a_source_that_fails_says_what_since_when_and_what_to_do(client: Client, source: Source) -> None:
    Source.objects.update(status="error", last_error="Permission denied: /logs/lora", last_synced=now() - timedelta(hours=3))
    shown = text(client, source.get_absolute_url())
    for words in ("failing", "Not read since", "3 h ago", "Permission denied: /logs/lora", "What was read before stays",
                  f"manage.py sync_runs --source {source.pk} --confirm-loss"):
        assert words in shown


def test_what_the_scan_found_odd_comes_in_pages(client: Client, source: Source) -> None:
    Source.objects.update(problems=[{"kind": "symlink", "path": f"odd-{n}-{EVIL}"} for n in range(250)])
    page = client.get(f"{source.get_absolute_url()}?page=3").content.decode()
    assert "symlink: odd-249-" in page and "odd-0-" not in page
    assert EVIL not in page
    assert client.get(f"{source.get_absolute_url()}?page=wrong").status_code == 200


def test_an_operator_syncs_a_source_now(bob: User, source: Source) -> None:
    queued()  # what tests before left
    page = sync(signed_in(bob), source)
    assert "Asked the workers to read it" in page
    assert queued() == [[source.pk]]
    entry = AuditEntry.objects.get()
    assert (entry.who, entry.action, entry.subject) == ("bob", "sync source", "lora=/logs/lora")


def test_a_viewer_may_not_sync(client: Client, source: Source) -> None:
    assert client.post(reverse("source-sync", args=[source.pk])).status_code == 403
    assert "Sync now" not in text(client, source.get_absolute_url())
    assert queued() == []


def test_a_source_that_is_hidden_disabled_or_at_work_is_not_queued(bob: User, source: Source) -> None:
    hidden = make_source(make_trainer("router", "team-router"))
    client = signed_in(bob)
    assert client.post(reverse("source-sync", args=[hidden.pk])).status_code == 404
    Source.objects.filter(pk=source.pk).update(leased_until=now() + timedelta(seconds=30))
    assert "It is being synced just now." in sync(client, source)
    Source.objects.filter(pk=source.pk).update(enabled=False, leased_until=None)
    assert "This source is disabled" in sync(client, source)
    assert client.get(reverse("source-sync", args=[source.pk])).status_code == 405
    assert queued() == []
