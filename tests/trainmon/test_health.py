"""/healthz, /readyz and /metrics of a real site: whatever hangs or is down, they answer, and tell strangers a word."""

from __future__ import annotations

import json
import socket
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from urllib.error import HTTPError

import pytest
from django.contrib.auth.models import User
from django.utils.timezone import now

from runs.models import Heartbeat, Source, Trainer
from streaming.models import TensorBoard
from tests.runs.factories import make_source, make_trainer, make_user
from tests.streaming.sites import Site, cookie_of, page, site_running, until, valkey_running

TOKEN = "a-token-of-the-tests-0123456789"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def get(site: Site, path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
    """Status and body, of a request whose Host is an address that the site does not know."""
    request = urllib.request.Request(site.url + path, headers={"Host": "10.1.2.3:8000", **headers}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as refused:
        return refused.code, refused.read().decode()


def details(site: Site, **headers: str) -> dict[str, Any]:
    return json.loads(get(site, "/readyz", **(headers or BEARER))[1])


def figures(site: Site) -> dict[str, float]:
    lines = get(site, "/metrics", **BEARER)[1].splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


@pytest.fixture(scope="module")
def site(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One with a token; its Valkey comes and goes by the tests, at this address."""
    home = tmp_path_factory.mktemp("bus")
    with valkey_running(home) as bus:
        pass
    with site_running(tmp_path_factory.mktemp("site"), bus, TRAINMON_METRICS_TOKEN=TOKEN) as site:
        site.home = home  # type: ignore[attr-defined]
        yield site


@contextmanager
def bus_of(site: Site) -> Iterator[None]:
    with valkey_running(site.home):  # type: ignore[attr-defined]
        yield


@pytest.fixture
def well(transactional_db: None) -> Source:
    """A source that is followed, a worker that beats, a TensorBoard that runs."""
    source = make_source(make_trainer("lora", "team-lora"))
    Source.objects.update(followed=now() + timedelta(minutes=1), last_synced=now(), status=Source.Status.OK)
    Heartbeat.beat("worker"), Heartbeat.beat("janitor")
    TensorBoard.objects.create(trainer=source.trainer, state="running", since=now(), seen=now() + timedelta(minutes=1))
    return source


def states(site: Site) -> dict[str, str]:
    time.sleep(1.1)  # an answer is good for a second
    return {name: one["state"] for name, one in details(site)["dependencies"].items()}


def test_a_site_is_ready_and_says_no_more_than_that_to_strangers(site: Site, well: Source) -> None:
    with bus_of(site):
        until(lambda: set(states(site).values()) == {"ok"})
        assert get(site, "/readyz") == (200, "ready\n")
        assert get(site, "/readyz", Authorization="Bearer wrong") == (200, "ready\n")
        assert details(site)["state"] == "ready"
        assert details(site)["dependencies"]["broker"]["waiting"] == 0


def test_without_valkey_the_site_is_degraded_and_goes_on(site: Site, well: Source) -> None:
    """ISG-64."""
    with bus_of(site):
        until(lambda: get(site, "/readyz") == (200, "ready\n"))
    until(lambda: get(site, "/readyz") == (200, "degraded\n"))
    assert states(site) == {"database": "ok", "layer": "down", "broker": "down", "worker": "ok", "janitor": "ok",
                            "follower": "ok", "tensorboards": "ok"}  # fmt: skip
    down = details(site)["dependencies"]["broker"]
    assert "Error" in down["reason"] and down["since"] <= now().isoformat()
    assert get(site, "/login/", Host="localhost")[0] == 200
    with bus_of(site):
        until(lambda: get(site, "/readyz") == (200, "ready\n"))


def test_what_does_not_work_is_told_with_its_reason_and_since_when(site: Site, well: Source) -> None:
    long_ago = now() - timedelta(hours=1)
    Heartbeat.objects.update(at=long_ago)
    Source.objects.update(followed=long_ago)
    TensorBoard.objects.update(state="failed", reason="out of memory", since=long_ago)
    make_source(make_trainer("router"), root="/router", followed=now() + timedelta(minutes=1))
    states(site)
    found = details(site)["dependencies"]
    assert (found["worker"]["state"], found["worker"]["since"]) == ("down", long_ago.isoformat())
    assert found["follower"]["state"] == "degraded" and found["follower"]["reason"].startswith("1 of 2 sources")
    assert [part["name"] for part in found["follower"]["parts"]] == [f"lora/{well.pk}"]
    board, missing = sorted(found["tensorboards"]["parts"], key=lambda part: part["name"])
    assert board == {"name": "lora", "ok": False, "state": "failed", "reason": "out of memory", "since": long_ago.isoformat()}
    assert (missing["name"], missing["state"]) == ("router", "missing")
    assert found["tensorboards"]["reason"] == "2 of 2 TensorBoards that should run do not"
    TensorBoard.objects.update(mode="stopped", state="stopped")
    states(site)
    assert details(site)["dependencies"]["tensorboards"]["reason"] == "1 of 1 TensorBoards that should run do not"
    assert get(site, "/readyz") == (200, "degraded\n")


def test_an_operator_learns_of_the_trainers_that_they_see_and_a_viewer_of_none(site: Site, well: Source) -> None:
    Trainer.objects.filter(pk=well.trainer_id).update(description="")
    TensorBoard.objects.update(state="failed")
    states(site)
    for name, role, groups, seen in (("bob", "operator", ["team-lora"], ["lora"]), ("oda", "operator", [], []),
                                     ("ada", "admin", [], ["lora"])):
        cookie = cookie_of(make_user(name, role, *groups))
        parts = details(site, Cookie=cookie)["dependencies"]["tensorboards"]["parts"]
        assert [part["name"] for part in parts] == seen, name
    assert get(site, "/readyz", Cookie=cookie_of(make_user("alice", "viewer", "team-lora")))[1] == "degraded\n"
    assert get(site, "/readyz", Cookie="sessionid=wrong")[1] == "degraded\n"
    User.objects.filter(username="ada").update(is_active=False)


def test_a_process_that_lives_says_so_to_everybody_and_takes_nothing_but_reading(site: Site) -> None:
    assert get(site, "/healthz") == (200, "ok\n")
    assert get(site, "/healthz", "HEAD") == (200, "")
    for path in ("/healthz", "/readyz", "/metrics"):
        assert get(site, path, "POST")[0] == 405


def test_metrics_are_read_with_the_token_alone(site: Site, well: Source) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}, {"Cookie": "sessionid=x"}):
        status, said = get(site, "/metrics", **headers)
        assert status == 403 and "lora" not in said
    assert figures(site)['trainmon_sources{state="synced",trainer="lora"}'] == 1


def test_what_the_site_answers_is_counted_and_probes_are_not(site: Site, well: Source) -> None:
    name = "trainmon_process_http_requests_total"

    def counts() -> dict[str, float]:
        return {one: value for one, value in figures(site).items() if one.startswith(name)}

    before = counts()
    for path in ("/login/", "/healthz", "/readyz", "/api/runs/"):
        get(site, path, Host="localhost")
    more = {one: before.get(one, 0) + 1 for one in (
        f'{name}{{method="GET",route="page",status="2xx"}}', f'{name}{{method="GET",route="api",status="4xx"}}')}
    until(lambda: counts() == before | more)  # counted just after it was sent
    after = figures(site)
    assert after["process_resident_memory_bytes"] > 50e6
    assert after['trainmon_process_connections_open{kind="websocket"}'] == 0


def test_sockets_are_counted_while_they_are_open(site: Site, well: Source) -> None:
    name = 'trainmon_process_connections_open{kind="websocket"}'
    with page(site, make_user("alice", "viewer", "team-lora")):
        until(lambda: figures(site)[name] == 1)
    until(lambda: figures(site)[name] == 0)


def test_probes_leave_no_line_in_the_log(site: Site) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        get(site, path)
    get(site, "/login/?after=the-probes", Host="localhost")
    until(lambda: "the-probes" in site.log.read_text())
    told = [json.loads(line) for line in site.log.read_text().splitlines() if line.startswith("{")]
    paths = {line["context"]["path"] for line in told if line.get("event") == "http.request"}
    assert "/login/" in paths and paths.isdisjoint({"/healthz", "/readyz", "/metrics"})


@pytest.fixture(scope="module")
def hanging(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site whose database and Valkey take connections and never say a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=200) as silent:
        port = silent.getsockname()[1]
        url = f"postgresql://trainmon@127.0.0.1:{port}/trainmon"
        with site_running(tmp_path_factory.mktemp("hanging"), f"redis://127.0.0.1:{port}/0", DATABASE_URL=url,
                          TRAINMON_METRICS_FROM="127.0.0.0/8") as site:
            yield site


def test_a_database_that_hangs_does_not_hang_the_probe(hanging: Site) -> None:
    began = time.monotonic()
    for _ in range(3):
        status, said = get(hanging, "/readyz")
        assert status == 503
    found = json.loads(said)["dependencies"]  # the tests' address is one that was named
    assert found["database"]["state"] == found["broker"]["state"] == found["layer"]["state"] == "down"
    assert found["worker"] | {"since": ""} == {"state": "unknown", "reason": "the database does not answer", "since": ""}
    assert get(hanging, "/healthz") == (200, "ok\n")
    status, said = get(hanging, "/metrics")
    assert status == 200 and "trainmon_ready 0.0" in said and 'trainmon_dependency_up{dependency="database"} 0.0' in said
    assert time.monotonic() - began < 60


def test_an_address_counts_only_for_whoever_comes_from_it(hanging: Site) -> None:
    assert get(hanging, "/metrics")[0] == 200
    for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"):
        assert get(hanging, "/metrics", **{name: "127.0.0.1"})[0] == 403
    assert get(hanging, "/readyz", **{"X-Forwarded-For": "1.2.3.4"}) == (503, "unready\n")
