"""Home: what runs, what failed and why, who takes how much, how old the data is."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils.timezone import now

from runs.counts import held
from runs.models import Run, Source
from tests.runs.conftest import signed_in
from tests.runs.factories import make_points, make_run, make_source, make_trainer
from tests.runs.test_pages import text

if TYPE_CHECKING:
    from pytest_django import DjangoAssertMaxNumQueries, Settings

pytestmark = pytest.mark.django_db


def test_failed_runs_are_counted_apart_from_finished_ones(client: Client, source: Source) -> None:
    """AFS-8: one failed of three that stopped leaves two finished."""
    for status in ("finished", "finished", "failed", "killed"):
        make_run(source, status=status)
    shown = text(client, reverse("home"))
    for words in ("4 runs", "2 finished", "1 failed", "1 killed"):
        assert words in shown


def test_what_failed_last_comes_first_with_its_reason(client: Client, source: Source) -> None:
    make_run(source, name="old", status="failed", started=now() - timedelta(days=3), error="disk full")
    make_run(source, name="new", status="failed", error_type="OutOfMemoryError", error="CUDA out of memory " + "x" * 9000)
    make_run(source, name="gone", status="lost", started=now() - timedelta(days=9), status_reason="its root is gone")
    shown = text(client, reverse("home"))
    assert shown.index("OutOfMemoryError CUDA out of memory") < shown.index("disk full") < shown.index("its root is gone")
    assert "x" * 201 not in shown


def test_what_runs_says_how_long_it_will_take(client: Client, source: Source) -> None:
    run = make_run(source, name="at-work", status="running", step=100, total_steps=700,
                   pulse={"steps": [[1000.0, 0], [1100.0, 100]]})
    make_points(run, "train/loss", [2.0, 0.51239])
    shown = text(client, reverse("home"))
    for words in ("at-work", "100 /700", "0.5124 train/loss", "10 m 00 s"):
        assert words in shown


def test_storage_is_told_by_trainer(client: Client, source: Source) -> None:
    make_run(source, size=3 << 20, point_count=300)
    make_run(make_source(make_trainer("open")), size=5 << 30, point_count=100)
    everything = held()
    assert everything.points == 400
    assert everything.database_share(300) == everything.database * 3 // 4 > 0
    shown = text(client, reverse("home"))
    assert "3.0 MiB" in shown and "5.0 GiB" in shown


def test_what_is_not_up_to_date_is_named_with_its_age(client: Client, source: Source, settings: Settings) -> None:
    settings.TRAINMON_SYNC_INTERVAL = 30
    Source.objects.update(last_synced=now() - timedelta(seconds=30))
    assert "not up to date" not in text(client, reverse("home"))
    Source.objects.update(last_synced=now() - timedelta(seconds=130))
    shown = text(client, reverse("home"))
    assert "1 of 1 source is not up to date." in shown
    assert "/logs/lora : stale, data as of 2 m ago" in shown
    assert 'class="asof stale"' in client.get(reverse("runs")).content.decode()


def test_a_disabled_source_is_not_called_stale(client: Client, source: Source) -> None:
    Source.objects.update(last_synced=now() - timedelta(days=3), enabled=False)
    shown = text(client, reverse("home"))
    assert "disabled" in shown
    assert "not up to date" not in shown


def test_buried_runs_are_not_counted_but_their_points_are(source: Source) -> None:
    make_run(source, point_count=5)
    make_run(source, point_count=7, lifecycle_stage=Run.Stage.BURIED)
    everything = held()
    assert (everything.of([source.pk]).runs, everything.of([source.pk]).points, everything.points) == (1, 5, 12)


def test_home_counts_nothing_of_hidden_trainers(client: Client, source: Source) -> None:
    hidden = make_source(make_trainer("router", "team-router"), root="/logs/hidden")
    make_run(hidden, name="hidden-run", status="failed", size=1 << 40)
    make_run(source, size=1 << 20)
    shown = text(client, reverse("home"))
    assert "hidden" not in shown and "TiB" not in shown and "router" not in shown
    assert "1 run " in shown


def test_home_costs_the_same_queries_whatever_is_on_it(
    client: Client, source: Source, django_assert_max_num_queries: DjangoAssertMaxNumQueries
) -> None:
    """P20."""
    for number in range(12):
        other = make_source(make_trainer(f"t{number}"))
        for status in ("running", "failed", "finished"):
            make_points(make_run(other, dataset=f"d{number}", status=status), "loss", [1.0, 2.0])
    with django_assert_max_num_queries(19):
        client.get(reverse("home"))


def test_the_rail_shows_only_what_the_user_may_open(client: Client, source: Source, bob: User) -> None:
    assert reverse("admin:index") not in client.get(reverse("home")).content.decode()
    assert reverse("admin:index") in signed_in(bob).get(reverse("home")).content.decode()
    assert reverse("account") in client.get(reverse("home")).content.decode()
