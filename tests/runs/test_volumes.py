"""Volumes are refreshed before a scan; what they are asked stands in the environment alone (CH-46)."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from runs import volumes
from runs.models import Run, Source
from runs.scan import Failed, Synced
from runs.sync import sync
from tests.runs.factories import make_run, make_source

if TYPE_CHECKING:
    from pytest_django import Settings


def script(folder: Path, body: str) -> str:
    """A program of one's own."""
    path = folder / f"program-{len(list(folder.iterdir()))}"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def source(db: None, tmp_path: Path) -> Source:
    root = tmp_path / "volume/logs"
    root.mkdir(parents=True)
    (root / "keep.txt").write_text("so that it is not empty")
    return make_source(root=str(root))


def synced(source: Source) -> Synced | Failed:
    outcome: Any = sync(source.pk, isolate="here")
    source.refresh_from_db()
    return outcome


def test_a_volume_is_refreshed_before_a_source_in_it_is_scanned(source: Source, tmp_path: Path, settings: Settings):
    mark = Path(source.root) / "run-1"
    program = script(tmp_path, f'mkdir -p {mark} && echo "$@" >> {tmp_path}/calls')
    settings.TRAINMON_VOLUMES = {str(tmp_path / "volume"): {"refresh": [program, "a b;$(id)"]}}
    assert isinstance(synced(source), Synced) and mark.is_dir()
    assert (tmp_path / "calls").read_text() == "a b;$(id)\n"


def test_a_refresh_that_fails_marks_the_source_with_the_reason_and_no_run_as_missing(
    source: Source, tmp_path: Path, settings: Settings
):
    run = make_run(source, path=b"gone")
    program = script(tmp_path, "echo 'the token is hf_abcdefghijklmnopqrstuvwxyz123456'; exit 3")
    settings.TRAINMON_VOLUMES = {source.root: {"refresh": [program]}}
    assert isinstance(synced(source), Failed)
    assert source.status == Source.Status.ERROR and "was not refreshed" in source.last_error
    assert "ended with 3" in source.last_error and "abcdefghijklm" not in source.last_error
    assert not Run.objects.get(pk=run.pk).files_missing


def test_one_that_hangs_is_given_up_with_all_that_it_started(tmp_path: Path):
    program, beats = script(tmp_path, f"sleep 60 & echo $! > {tmp_path}/pid; wait"), []
    began = time.monotonic()
    with pytest.raises(volumes.Failed, match="did not end within 1 s"):
        volumes.run((program,), 1, lambda: beats.append(1))
    assert time.monotonic() - began < 10 and beats
    stat = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/stat")
    assert not stat.exists() or stat.read_text().split()[2] == "Z"


def test_a_command_gets_none_of_our_secrets_and_only_the_end_of_what_it_says_is_kept(tmp_path: Path, monkeypatch: Any):
    for name in ("TRAINMON_SECRET_KEY", "DATABASE_URL", "PGPASSWORD"):
        monkeypatch.setenv(name, "ours")
    said = volumes.run((script(tmp_path, "env; head -c 300000 /dev/zero | tr '\\0' x; echo; echo end"),), 10)
    assert said.endswith("end") and len(said) <= volumes.SAID
    assert "ours" not in volumes.run((script(tmp_path, "env"),), 10)


@pytest.mark.parametrize("said", [
    [], {"volume": {"kind": "local"}}, {"/v": {}}, {"/v": {"kind": "shell"}}, {"/v": {"commit": "rm -rf /"}},
    {"/v": {"commit": ["sync"]}}, {"/v": {"kind": "modal"}}, {"/v": {"kind": "local", "timeout": float("inf")}},
    {"/v": {"kind": "local", "run": ["/bin/true"]}}])
def test_what_cannot_be_meant_is_refused_in_words(said: Any, settings: Settings):
    settings.TRAINMON_VOLUMES = said
    with pytest.raises(ValueError):
        volumes.read(said)
    with pytest.raises(volumes.Failed, match="TRAINMON_VOLUMES"):
        volumes.refresh("/v/logs")


def test_modal_is_asked_through_its_client_and_refused_in_words_where_that_is_not_installed(
    tmp_path: Path, monkeypatch: Any, settings: Settings
):
    settings.TRAINMON_VOLUMES = {"/v": {"kind": "modal", "name": "logs"}}
    with pytest.raises(volumes.Failed, match="not installed"):
        volumes.refresh("/v/logs")
    # Modal's service is not to be had here: a client with its calls, that writes them down
    (tmp_path / "modal.py").write_text(
        "class Volume:\n    def __init__(self, name): self.name = name\n"
        "    from_name = classmethod(lambda cls, name: cls(name))\n"
        f"    def reload(self): open({str(tmp_path / 'calls')!r}, 'a').write('reload ' + self.name)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]))
    volumes.refresh("/v/logs")
    assert (tmp_path / "calls").read_text() == "reload logs"
    assert "modal" not in sys.modules
