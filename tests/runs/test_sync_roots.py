"""A root that is away, empty, exchanged or unreadable is an error on its source only."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from django.db import connection

from runs.lease import Lease, LeaseLost, claim
from runs.models import LogFile, Run, Source
from runs.scan import Failed, Options, Synced, sync_source
from tests.runs.trees import outcome_of, registry, same, settle, source_of, synced, write

pytestmark = pytest.mark.django_db


def failed(root: Path, **options: object) -> str:
    done = outcome_of(root, **options)
    assert isinstance(done, Failed), done
    source = source_of(root)
    assert (source.status, source.last_error) == ("error", done.error)
    return done.error


def confirm(root: Path) -> None:
    Source.objects.filter(root=str(root)).update(loss_confirmed=True)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A synced source with two runs."""
    root = tmp_path / "root"
    write(root / "ds" / "one")
    write(root / "two")
    settle(root)
    synced(root)
    return root


def test_a_root_that_is_gone_is_an_error_and_no_run_is_missing(root):
    root.rename(root.with_name("elsewhere"))
    assert "does not exist" in failed(root)
    assert not Run.objects.filter(files_missing=True).exists()
    root.with_name("elsewhere").rename(root)
    assert synced(root).points == 0
    assert source_of(root).last_error == ""


def test_a_root_that_became_a_file_is_an_error(root):
    shutil.rmtree(root)
    root.write_text("")
    assert "is not a folder" in failed(root)
    assert not Run.objects.filter(files_missing=True).exists()


def test_an_empty_root_that_had_runs_is_an_error_until_confirmed(root):
    before = registry(source_of(root))
    shutil.copytree(root, root.with_name("archive"))
    shutil.rmtree(root)
    root.mkdir()
    assert "is empty, but 2 runs" in failed(root)
    assert "is the volume mounted" in failed(root)
    assert same(registry(source_of(root)), before)
    confirm(root)
    assert synced(root).missing == 2
    assert not source_of(root).loss_confirmed
    assert Run.objects.filter(files_missing=True).count() == LogFile.objects.filter(missing=True).count() == 2


def test_a_volume_that_was_only_away_comes_back_after_a_hasty_confirmation(root):
    before = registry(source_of(root))
    root.rename(root.with_name("volume"))
    root.mkdir()
    confirm(root)
    synced(root)
    root.rmdir()
    root.with_name("volume").rename(root)
    assert synced(root).points == 0
    assert same(registry(source_of(root)), before)


def test_a_root_that_never_had_runs_may_be_empty(tmp_path):
    (tmp_path / "new").mkdir()
    assert synced(tmp_path / "new").runs == 0


def test_runs_that_vanish_with_a_change_of_device_are_not_marked_missing(root):
    Source.objects.update(device=12345)
    shutil.rmtree(root / "ds")
    assert "is on another device" in failed(root)
    assert not Run.objects.filter(files_missing=True).exists()
    confirm(root)
    assert synced(root).missing == 1


def test_a_run_on_a_file_system_mounted_below_the_root_is_not_missing_when_that_is_away(root):
    LogFile.objects.filter(run__name="one").update(device=12345)
    shutil.rmtree(root / "ds" / "one")
    assert "mounted" in failed(root)
    assert not Run.objects.filter(files_missing=True).exists()
    confirm(root)
    assert synced(root).missing == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
@pytest.mark.django_db(transaction=True)
def test_a_real_mount_below_the_root_that_is_away_is_an_error(tmp_path):
    from tests.runs.processes import sync_command

    write(tmp_path / "logs" / "here")
    (tmp_path / "logs" / "volume").mkdir()
    write(tmp_path / "image" / "run")
    inside = f"mount --bind {tmp_path}/image {tmp_path}/logs/volume && mount -t tmpfs t {tmp_path}/logs/volume && " \
             f"cp -a {tmp_path}/image/run {tmp_path}/logs/volume/ && exec "
    first = sync_command(f"t={tmp_path}/logs", before=["unshare", "--mount", "sh", "-c", inside + '"$@"', "sh"])
    assert first.returncode == 0, first.stderr
    assert Run.objects.count() == 2
    second = sync_command()
    assert (second.returncode, "mounted" in second.stderr) == (1, True), second.stderr
    assert not Run.objects.filter(files_missing=True).exists()


def test_one_source_in_trouble_leaves_the_others_alone(root, tmp_path):
    write(tmp_path / "fine" / "run")
    shutil.rmtree(root)
    failed(root)
    assert synced(tmp_path / "fine", "fine").new == 1


def test_a_sync_that_was_given_up_can_write_nothing_any_more(root):
    lease = claim(source_of(root).pk)
    assert isinstance(lease, Lease)
    lease.release()
    other = claim(lease.source_id)
    assert isinstance(other, Lease)
    write(root / "three")
    before = registry(source_of(root))
    with pytest.raises(LeaseLost):
        sync_source(lease, Options(), lambda _: None)
    assert same(registry(source_of(root)), before)
    assert isinstance(sync_source(other, Options(), lambda _: None), Synced)


def test_the_root_may_be_a_symlink_that_an_admin_named(root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    subprocess.run(["true"], check=True)
    Source.objects.update(root=str(tmp_path / "link"))
    write(root / "three")
    assert synced(tmp_path / "link").new == 1


def test_no_transaction_is_open_while_files_are_read(root, monkeypatch):
    from runs import reading

    open_then = []
    connection.in_atomic_block, inside = False, connection.in_atomic_block
    monkeypatch.setattr(reading.confined, "opened", _noting(reading.confined.opened, open_then))
    write(root / "three")
    synced(root)
    connection.in_atomic_block = inside
    assert open_then and not any(open_then)


def _noting(opened, noted):
    def noting(*args):
        noted.append(connection.in_atomic_block)
        return opened(*args)
    return noting
