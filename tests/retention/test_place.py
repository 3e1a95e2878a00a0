"""A place that takes no archives is told before anybody confirms, and no run is promised to go by it."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest
import s3fs
from django.urls import reverse

from retention import destinations, place, policies
from retention.models import RetentionPolicy
from runs.models import Heartbeat
from tests.retention.oldruns import run_at
from tests.retention.test_cleanup_command import asked as console
from tests.retention.test_cleanup_command import command
from tests.retention.test_files import as_nobody
from tests.runs.api.conftest import by_token, send
from tests.runs.conftest import signed_in

pytestmark = pytest.mark.django_db


def test_every_door_says_that_no_archive_can_be_made_and_promises_nothing(source, bob, settings: Any):
    run = run_at(source, "a")
    settings.TRAINMON_ARCHIVE = f"{source.root}/archive"
    words = f"archives in {source.root}/archive would lie inside the logs of"
    code, _, err = command("--select", "0", "--yes")
    assert code == 1 and words in err and "--no-archive" in err and Path(source.root, "a").is_dir()
    told = send(by_token(bob), "POST", "/api/cleanups/", {"runs": [run.pk]}).json()
    assert told["going"] == [] and words in told["archive_trouble"] and words in told["staying"][0]["reason"]
    client = signed_in(bob)
    page = client.get("/storage/cleanups/preview/", {"run": run.pk}).content.decode()
    assert words in page and "No archive can be made now" in page and "None of these runs may go" in page
    for deed in ("bury", "archive"):
        page = client.post("/admin/retention/runstorage/", {"action": deed, "_selected_action": run.pk}).content.decode()
        assert f"No archive can be made now: {words}" in page and "Left alone: 1 run" in page
    tidy = RetentionPolicy.objects.create(name="tidy", trainer=source.trainer, keep_last=1, enabled=True)
    run_at(source, "b", days=20)
    assert words in "".join(policies.order_all(place.now())) and words in client.get(
        reverse("policy", args=[tidy.pk])).content.decode()
    assert [one["id"] for one in console("--select", "0", "--no-archive", "--dry-run")["going"]] == [run.pk]


def test_a_folder_that_takes_nothing_says_why(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(destinations.Refused, match="file' is no folder"):
        destinations.at(f"{tmp_path}/file/archive").ready()
    destinations.at(f"{tmp_path}/yet/to/be/made").ready()
    (tmp_path / "theirs").mkdir(mode=0o755)
    assert "cannot be written by the user with the id" in as_nobody(destinations.at(f"{tmp_path}/theirs/archive").ready)


def test_the_janitors_word_counts_where_this_process_is_not_let_in(settings: Any):
    settings.TRAINMON_ARCHIVE = "s3://b:c@host/d"  # refused to whoever asks
    assert "holds no credentials" in place.there()
    settings.TRAINMON_ARCHIVE = "nosuchthing://host/d"  # a client that only the janitor has
    assert "is no destination" in place.there()
    Heartbeat.beat("janitor")
    assert place.there() == "" and "is no destination" in place.here()
    Heartbeat.beat("janitor", "the disk is full")
    assert place.there() == "the disk is full"


def test_storage_that_hangs_is_told_in_time_and_asked_by_one_thread(settings: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(place, "PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for name, value in {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}", "AWS_MAX_ATTEMPTS": "1",
                            "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y", "AWS_DEFAULT_REGION": "us-east-1"}.items():
            monkeypatch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()  # another test's still asks that one's server
        settings.TRAINMON_ARCHIVE = "s3://bucket/logs"
        destinations.at(settings.TRAINMON_ARCHIVE)  # its client is loaded once
        began = time.monotonic()
        assert [place.there() for _ in range(2)] == ["s3://bucket/logs does not answer within 0.2 s"] * 2
        assert time.monotonic() - began < 2
    s3fs.S3FileSystem.clear_instance_cache()
