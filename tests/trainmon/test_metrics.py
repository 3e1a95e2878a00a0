"""What /metrics says: true figures of the registry under lasting names, with labels that no run and no caller can multiply."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils.timezone import now
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from runs.models import Heartbeat, Job, Source
from streaming.models import TensorBoard
from streaming.publish import MOST, Notice
from tests.runs.factories import make_run, make_source, make_trainer
from tests.runs.trees import job_log, synced
from tests.trainmon.machine import ROOT
from trainmon import checks
from trainmon.health import door, process
from trainmon.health.figures import figures
from trainmon.health.metrics import exposition
from trainmon.health.probes import Probes
from trainmon.health.standing import Standing, State, Word

OPERATIONS = (ROOT / "docs/operations.md").read_text()
FOUND = {name: Standing(State.OK, waiting=4 if name == "broker" else None)
         for name in ("database", "layer", "broker", "worker", "follower", "tensorboards")}  # fmt: skip


def families(known: bool = True) -> list[Metric]:
    """What Prometheus itself would read."""
    page = exposition(Word.READY, FOUND, figures() if known else None).decode()
    return list(text_string_to_metric_families(page))


def samples() -> dict[tuple[str, ...], float]:
    """Each figure by its name and the values of its labels."""
    return {(one.name, *(one.labels[label] for label in sorted(one.labels))): one.value for family in families()
            for one in family.samples}  # fmt: skip


@pytest.fixture
def source(db: None) -> Source:
    """A trainer with something of everything."""
    source = make_source(make_trainer("lora"), followed=now() - timedelta(seconds=5), last_synced=now() - timedelta(minutes=1),
                         sync_seconds=1.5)
    make_run(source, name="a", status="running", stalled=True, size=1_000, point_count=7)
    run = make_run(source, name="b", status="finished", size=24, point_count=3)
    Job.objects.create(source=source, run=run, external_id="one", status="finished")
    Heartbeat.objects.create(service="worker", at=now() - timedelta(seconds=42))
    TensorBoard.objects.create(trainer=source.trainer, state="running", memory=123, restarts=2, runs_served=1, runs_on_disk=2)
    process.answered("/runs/", "GET", 200, 0.02)
    return source


def test_the_figures_are_those_of_the_registry(source: Source) -> None:
    told = samples()
    assert told["trainmon_runs", "running", "lora"] == told["trainmon_runs", "finished", "lora"] == 1
    assert told["trainmon_runs", "failed", "lora"] == 0
    assert (told["trainmon_points", "lora"], told["trainmon_log_bytes", "lora"]) == (10, 1024)
    assert told["trainmon_runs_stalled", "lora"] == 1 and told["trainmon_jobs", "finished", "lora"] == 1
    assert told["trainmon_tensorboard_state", "running", "lora"] == 1
    assert told["trainmon_tensorboard_state", "failed", "lora"] == 0
    assert told["trainmon_tensorboard_restarts_total", "lora"] == 2 and told["trainmon_tensorboard_memory_bytes", "lora"] == 123
    assert 5 <= told["trainmon_source_lag_seconds", str(source.pk), "lora"] < 50
    assert 5 <= told["trainmon_follower_lag_seconds",] < 50 and 42 <= told["trainmon_worker_heartbeat_age_seconds",] < 90
    assert told["trainmon_source_sync_seconds", str(source.pk), "lora"] == 1.5
    assert told["trainmon_tasks_waiting",] == 4 and told["trainmon_database_bytes",] > 1_000_000
    Source.objects.update(status=Source.Status.ERROR)  # who reads on knows no more than what the failed sync left
    assert samples()["trainmon_source_lag_seconds", str(source.pk), "lora"] >= 60


@pytest.mark.django_db
def test_what_a_sync_took_is_what_it_says(tmp_path: Path) -> None:
    job_log(tmp_path / "run" / "job.jsonl")
    done = synced(tmp_path)
    assert samples()["trainmon_source_sync_seconds", str(done.source_id), "t"] == done.seconds > 0


def test_a_disabled_or_failing_source_is_told_as_such(source: Source) -> None:
    make_source(make_trainer("old"), root="/old", enabled=False)
    Source.objects.filter(pk=source.pk).update(status="error")
    told = samples()
    assert told["trainmon_sources", "disabled", "old"] == told["trainmon_sources", "failing", "lora"] == 1
    assert told["trainmon_source_up", str(source.pk), "lora"] == 0
    assert not [key for key in told if key[0] == "trainmon_source_up" and key[-1] == "old"]


def test_runs_make_no_series_and_callers_make_none(source: Source) -> None:
    before = set(samples())
    for at in range(5):
        make_run(source, name=f"more{at}", status="failed")
    for odd in ("/runs/1/x", "/%00/", "/api/one", "/static/../x"):
        process.answered(odd, "GET", 200, 0.1)
    process.answered("/", "MADE-UP", None, 0.1)
    process.answered("/", "OTHER", None, 0.1)
    new = {key for key in set(samples()) - before if key[0] == "trainmon_process_http_requests_total"}
    assert new == {("trainmon_process_http_requests_total", "other", "page", "broken"),
                   ("trainmon_process_http_requests_total", "GET", "api", "2xx"),
                   ("trainmon_process_http_requests_total", "GET", "static", "2xx")}  # fmt: skip
    assert {key[0] for key in set(samples()) - before - new} <= {
        f"trainmon_process_http_request_duration_seconds_{end}" for end in ("bucket", "count", "sum")}


def test_a_scrape_asks_the_database_few_questions(source: Source, django_assert_max_num_queries: Any) -> None:
    for at in range(5):
        make_source(make_trainer(f"t{at}"), root=f"/{at}")
    with django_assert_max_num_queries(11):  # eight, their limit, and the transaction around them
        figures()


def test_every_metric_is_named_as_prometheus_would_and_explained(source: Source) -> None:
    for family in families():
        assert re.fullmatch(r"(trainmon|process)_[a-z_]+", family.name), family.name
        assert family.documentation.endswith("."), family.name
        assert not re.search(r"_(ms|milliseconds|kb|mb|minutes|percent)$", family.name)
        assert (family.type == "counter") == any(one.name.endswith("_total") for one in family.samples), family.name


def described() -> Iterator[tuple[str, str]]:
    """The names of docs/operations.md, each with its labels."""
    for line in OPERATIONS.split("**`/metrics`**")[1].split("`docs/grafana")[0].splitlines():
        if found := re.match(r"\| `([^`]+)` \| ([^|]*) \| ", line):
            yield found[1], ", ".join(re.findall(r"`(\w+)`", found[2]))


def test_every_metric_is_documented_with_its_labels(source: Source) -> None:
    told = {}
    for family in families():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        told[name] = ", ".join(sorted(family.samples[0].labels.keys() - {"le"}))
    known = dict(described())
    ours = {name: labels for name, labels in told.items() if not name.startswith("process_")}
    assert {name: labels for name, labels in known.items() if not name.startswith("process_")} == ours
    assert {name for name in known if name.startswith("process_")} <= told.keys()


def test_the_dashboard_asks_only_for_metrics_that_are_there(source: Source) -> None:
    board = json.loads((ROOT / "docs/grafana-dashboard.json").read_text())
    names = {one.name for family in families() for one in family.samples}
    targets = [target for panel in board["panels"] for target in panel.get("targets", [])]
    asked = {name for one in targets for name in re.findall(r"\b(?:trainmon|process)_\w+", one["expr"])}
    asked |= {name for one in board["templating"]["list"] for name in re.findall(r"\btrainmon_\w+", str(one.get("query")))}
    assert len(targets) >= 15 and asked - names == set()
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    drawn = [panel for panel in board["panels"] if panel["type"] != "row"]
    assert all(panel["datasource"]["uid"] == "${datasource}" and panel["targets"] for panel in drawn)


@pytest.mark.django_db
def test_without_figures_the_process_is_told_all_the_same() -> None:
    names = {family.name for family in families(known=False)}
    assert {"trainmon_ready", "trainmon_dependency_up", "process_resident_memory_bytes"} <= names
    assert "trainmon_runs" not in names


def test_every_address_that_is_answered_beside_django_is_in_the_table() -> None:
    """P17."""
    section = OPERATIONS.split("## Health")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(/\w+)` \|", section, re.M)) == Probes(None).answers.keys()  # type: ignore[arg-type]


def scope(client: str | None, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"client": None if client is None else (client, 1), "headers": headers}


def test_addresses_and_networks_are_those_that_were_named(settings: Any) -> None:
    settings.TRAINMON_METRICS_FROM = ["10.1.0.0/16", "192.0.2.7", "2001:db8::/32", "nonsense"]
    assert [door.may_read(scope(one)) for one in ("10.1.2.3", "192.0.2.7", "::ffff:10.1.2.3", "2001:db8::9")] == [True] * 4
    assert not any(door.may_read(scope(one)) for one in ("10.2.0.1", "192.0.2.8", "::1", "", None, "unix:/x"))
    settings.TRAINMON_METRICS_FROM = []
    assert door.is_shut() and not door.may_read(scope("10.1.2.3"))


def test_no_token_lets_nobody_in(settings: Any) -> None:
    settings.TRAINMON_METRICS_TOKEN = ""
    for said in (b"Bearer ", b"Bearer", b"", b"Bearer x"):
        assert not door.may_read(scope("10.1.2.3", (b"authorization", said)))


def test_a_short_token_and_a_wrong_address_are_errors(settings: Any) -> None:
    settings.TRAINMON_METRICS_TOKEN, settings.TRAINMON_METRICS_FROM = "short", ["10.0.0.0/8", "10.0.0.300"]
    assert [found.id for found in checks.check_metrics(None)] == ["trainmon.E012", "trainmon.E013"]


def test_changes_beyond_what_may_wait_are_counted_as_dropped() -> None:
    notice = Notice()
    assert notice.add(dict.fromkeys(range(MOST), 1), {}, ()) == 0
    assert notice.add({0: 2, MOST: 1, MOST + 1: 1}, {1: 1}, ()) == 2
