"""docs/examples/trainmon_client.py against a real site: nothing is lost, nothing counts twice, training never waits."""

from __future__ import annotations

import ast
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.utils.timezone import now

from runs.models import Job, Run, Sample, Source
from runs.sync import sync
from tests.docs.conftest import EXAMPLES, Site, script
from tests.trainmon.machine import at_rest


@pytest.fixture
def client(module: ModuleType, site: Site, token: str, tmp_path: Path) -> Any:
    """Its spool is kept apart from the home of the site."""
    client = module.Client(site.url, token, run="data/first", job="job-1", spool=tmp_path / "spool")
    yield client
    client.close(0)


def ids(site: Site, run: str = "data/first") -> list[str]:
    """The ids of the events that reached the site's disk, in their order."""
    path = site.home / "pushed/lora" / run / "pushed.jsonl"
    return [json.loads(line)["event_id"] for line in path.read_text().splitlines()] if path.exists() else []


def until(happened: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def test_it_is_one_file_for_python_3_8() -> None:
    tree = ast.parse((EXAMPLES / "trainmon_client.py").read_text(), feature_version=(3, 8))
    roots = {alias.name.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    roots |= {str(node.module).partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert roots <= set(sys.stdlib_module_names)


def test_events_and_files_arrive(client: Any, site: Site, tmp_path: Path) -> None:
    site.start()
    (tmp_path / "logs").mkdir()
    file = tmp_path / "logs/events.out.tfevents.1.host"
    file.write_bytes(os.urandom(3_000_000))
    client.ship(tmp_path / "logs")
    client.log("training.start", "Training", total_steps=100, config={"lr": 0.1, "api_key": "planted"})
    for step in range(100):
        client.step(step, total_steps=100, loss=1 / (step + 1))
    with file.open("ab") as grows:
        grows.write(os.urandom(100_000))
    client.log("training.complete", "Done", final_loss=float("nan"), device=Path("cuda"))
    assert client.close(60) and (client.dropped, client.rejected) == (0, 0)
    assert (site.home / "pushed/lora/data/first/events.out.tfevents.1.host").read_bytes() == file.read_bytes()
    assert len(ids(site)) == len(set(ids(site))) == 102
    sync(Source.objects.get().pk, isolate="here")
    job = Job.objects.get()
    assert (job.external_id, job.status, job.step, job.total_steps) == ("job-1", "finished", 99, 100)


def test_a_file_that_is_begun_is_locked_before_a_sender_sees_it(
    module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool, other = (module.Spool(tmp_path, "data/first", 1 << 20) for _ in range(2))
    lock, seen = fcntl.flock, []

    def watched(fd: Any, how: int) -> None:
        seen.append(other.files())
        lock(fd, how)

    monkeypatch.setattr(fcntl, "flock", watched)
    assert spool.put(b"{}", True)
    assert seen == [[]]
    (file,) = other.files()
    assert not other.is_over(file)
    spool.end()
    assert other.is_over(file) and file.read_text() == '{"run": "data/first"}\n{}\n'


def test_without_a_site_training_goes_on_and_later_all_arrives(client: Any, site: Site) -> None:
    begun = time.monotonic()
    for step in range(2000):
        client.step(step, loss=1.0)
    assert time.monotonic() - begun < at_rest(2)  # less than a millisecond each
    assert not client.close(0.5)
    site.start()
    again = type(client)(site.url, client.server.headers["Authorization"][7:], run="other", job="other",
                         spool=client.spool.folder.parent)
    assert again.close(60)
    assert len(ids(site)) == len(set(ids(site))) == 2000  # under the run that they were said of
    assert not (site.home / "pushed/lora/other").exists()


def test_a_wrong_token_keeps_everything_for_the_right_one(module: ModuleType, site: Site, token: str, tmp_path: Path) -> None:
    site.start()
    wrong = module.Client(site.url, "tmon_wrong", run="data/first", job="job-1", spool=tmp_path / "spool")
    wrong.log("training.start")
    until(lambda: "401" in wrong.last_error)
    assert not wrong.close(0.5)
    until(lambda: not wrong._thread.is_alive())  # one sends at a time
    right = module.Client(site.url, token, run="data/first", job="job-1", spool=tmp_path / "spool")
    assert right.close(60) and len(ids(site)) == 1


TRAINER = """
client = Client(sys.argv[1], os.environ["TOKEN"], run="data/first", job="job-1", spool=sys.argv[2])
for step in range(int(sys.argv[3])):
    client.step(step, loss=1.0)
    print(step, flush=True)
    time.sleep(0.0005)
print("left", client.close(0.0))
"""


def test_what_a_killed_trainer_has_said_is_sent_by_the_next(site: Site, token: str, tmp_path: Path) -> None:
    """P2: also where the first had sent a part of it."""
    site.start()
    trainer = script(TRAINER, site.url, str(tmp_path / "spool"), "100000", TOKEN=token)
    assert trainer.stdout
    until(lambda: len(ids(site)) > 200)
    trainer.kill()
    said = int(trainer.stdout.read().splitlines()[-1]) + 1
    second = script(TRAINER.replace("0.0)", "60.0)"), site.url, str(tmp_path / "spool"), "0", TOKEN=token)
    assert second.communicate()[0] == "left True\n"
    assert said <= len(set(ids(site))) <= said + 1
    sync(Source.objects.get().pk, isolate="here")
    assert Run.objects.get().point_count == len(set(ids(site)))


@pytest.mark.soak
def test_a_site_that_is_killed_again_and_again_gets_everything_once(client: Any, site: Site, tmp_path: Path) -> None:
    """P2: events and a file, in pieces that were broken off."""
    (tmp_path / "logs").mkdir()
    whole = os.urandom(20_000_000)
    (tmp_path / "logs/events.out.tfevents.1.host").write_bytes(whole)
    client.ship(tmp_path / "logs")
    for step in range(3000):
        client.step(step, loss=float(step))
    for pause in (0.3, 0.7):
        site.start()
        time.sleep(pause)
        site.kill()
    site.start()
    assert client.close(40)
    assert (site.home / "pushed/lora/data/first/events.out.tfevents.1.host").read_bytes() == whole
    assert len(set(ids(site))) == 3000
    (site.home / "pushed/lora/data/first/events.out.tfevents.1.host").unlink()
    sync(Source.objects.get().pk, isolate="here")
    assert Run.objects.get().point_count == 3000


def test_a_full_spool_leaves_steps_out_and_says_so(module: ModuleType, site: Site, token: str, tmp_path: Path) -> None:
    client = module.Client(site.url, token, run="data/first", job="job-1", spool=tmp_path / "spool", max_spool=100_000)
    for step in range(2000):
        client.step(step, loss=1.0)
    client.log("training.failed", "An end is kept", "ERROR", error="x")
    held = sum(path.stat().st_size for path in (tmp_path / "spool").rglob("*.jsonl"))
    assert held <= 110_000 and client.dropped > 1000
    site.start()
    assert client.close(60)
    sync(Source.objects.get().pk, isolate="here")
    lines = (site.home / "pushed/lora/data/first/pushed.jsonl").read_text()
    told = [json.loads(line) for line in lines.splitlines() if "client.dropped" in line]
    assert told[0]["fields"]["dropped"] + lines.count("training.step") == 2000
    assert Job.objects.get().status == "failed"


def test_a_spool_that_cannot_be_written_loses_nothing_while_the_site_answers(
    module: ModuleType, site: Site, token: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    client = module.Client(site.url, token, run="data/first", job="job-1", spool=tmp_path / "file/spool")
    client.log("training.start")
    client.step(1, loss=1.0)
    site.start()
    assert client.close(60) and len(ids(site)) == 2


def test_what_cannot_be_said_stops_no_training(client: Any, site: Site) -> None:
    site.start()
    loop: list[Any] = []
    loop.append(loop)
    client.log("training.start", value=loop)
    client.log("x" * 200)  # an event of more than 100 characters: the site takes it not
    client.log("training.step", tensor={1, 2}, step=1)
    assert client.close(60)
    assert (len(ids(site)), client.dropped, client.rejected) == (2, 1, 1)  # the step, and what was left out
    assert len(list(client.spool.folder.glob("rejected.jsonl"))) == 1


def test_a_forked_process_speaks_for_itself(site: Site, token: str, tmp_path: Path) -> None:
    site.start()
    code = """
client = Client(sys.argv[1], os.environ["TOKEN"], run="data/first", job="job-1", spool=sys.argv[2])
client.log("training.start")
if os.fork() == 0:
    client.log("loader.started")
    os._exit(0)
os.wait()
print(client.close(60))
"""
    assert script(code, site.url, str(tmp_path / "spool"), TOKEN=token).communicate()[0] == "True\n"
    assert len(set(ids(site))) == 2


def test_the_trainer_hears_that_it_is_to_end(client: Any, site: Site) -> None:
    """ISG-58."""
    site.start()
    client.step(1, loss=1.0)
    until(lambda: len(ids(site)) == 1)
    sync(Source.objects.get().pk, isolate="here")
    assert not client.cancelled
    Job.objects.update(cancel_requested=now())
    until(lambda: client.cancelled)
    client.log("job.cancelled", "Stopped")
    assert client.close(60)
    sync(Source.objects.get().pk, isolate="here")
    assert Job.objects.get().status == "killed"


def test_a_file_that_was_replaced_or_cut_is_sent_anew(client: Any, site: Site, tmp_path: Path) -> None:
    site.start()
    (tmp_path / "logs").mkdir()
    file, there = tmp_path / "logs/x.tfevents", site.home / "pushed/lora/data/first/x.tfevents"
    client.ship(tmp_path / "logs")
    for content in (b"first" * 1000, b"second" * 1000, b"cut"):
        (tmp_path / "new").write_bytes(content)
        (tmp_path / "new").replace(file)
        until(lambda content=content: there.exists() and there.read_bytes() == content)  # type: ignore[misc]
    assert client.close(60)


def test_the_example_trainer_pushes_a_whole_run(site: Site, token: str, tmp_path: Path) -> None:
    """Its log, event files and samples; nothing of it shares a disk with the site but this test."""
    site.start()
    folder = tmp_path / "far/spirals/first"
    command = [sys.executable, str(EXAMPLES / "train.py"), str(folder), "--steps", "200", "--push", site.url]
    subprocess.run(command, env=os.environ | {"TRAINMON_TOKEN": token}, check=True, stdout=subprocess.DEVNULL, timeout=60)
    said = [json.loads(line)["event_id"] for line in (folder / "events.jsonl").read_text().splitlines()]
    assert len(said) == len(set(said)) and sorted(said) == sorted(ids(site, "spirals/first"))
    shutil.rmtree(tmp_path / "far")
    sync(Source.objects.get().pk, isolate="here")
    run = Run.objects.get()
    assert (run.name, run.dataset and run.dataset.name, run.status) == ("first", "spirals", "finished")
    drawn = Sample.objects.exclude(path=b"").get()
    assert bytes(drawn.path) == b"spirals/first/samples/step_00150.png"
