"""P22: a backup brings every row back, and says so when it cannot."""

from __future__ import annotations

import json
import os
import stat

import psycopg
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection

from tests.trainmon.machine import ask, living, manage, wait_until
from trainmon import backup

pytestmark = pytest.mark.django_db(transaction=True)
NEW = f"restored_{os.getpid()}"


@pytest.fixture
def new_name():
    """A database that the test makes."""
    yield NEW
    with psycopg.connect(backup.conninfo(), autocommit=True) as client:
        client.execute(f"drop database if exists {NEW} with (force)")


def users_of(name: str) -> list[tuple]:
    with psycopg.connect(backup.conninfo(dbname=name)) as client:
        return client.execute("select * from auth_user order by id").fetchall()


def test_every_row_comes_back_in_a_new_database(tmp_path, new_name, capsys):
    for number in range(20):
        User.objects.create_user(f"user {number} é\n\\N\t'", password="a good password")
    call_command("backup", tmp_path / "b")
    call_command("restore_backup", tmp_path / "b", into=new_name)
    assert users_of(new_name) == users_of(connection.settings_dict["NAME"])
    with psycopg.connect(backup.conninfo(dbname=new_name)) as client:
        restored = backup.count_rows(client)
    assert restored == backup.read_manifest(tmp_path / "b").rows and restored["public.auth_user"] == 20
    assert "sha256" in capsys.readouterr().out


def test_only_the_owner_reads_a_backup_and_no_part_is_left(tmp_path):
    call_command("backup", tmp_path / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "b.manifest.json"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


@pytest.mark.parametrize("taken", ["b", "b.manifest.json"])
def test_a_backup_never_replaces_a_file(tmp_path, taken):
    (tmp_path / taken).write_text("precious")
    with pytest.raises(CommandError, match="never replaces"):
        call_command("backup", tmp_path / "b")
    assert (tmp_path / taken).read_text() == "precious" and len(list(tmp_path.iterdir())) == 1


def test_a_database_that_holds_something_is_not_restored_into(tmp_path):
    call_command("backup", tmp_path / "b")
    with pytest.raises(CommandError, match="not empty"):
        call_command("restore_backup", tmp_path / "b")


def test_an_existing_name_is_refused_and_kept(tmp_path, new_name):
    call_command("backup", tmp_path / "b")
    call_command("restore_backup", tmp_path / "b", into=new_name)
    with pytest.raises(CommandError, match="exists already"):
        call_command("restore_backup", tmp_path / "b", into=new_name)
    assert users_of(new_name) == []


@pytest.mark.parametrize("damage", ["cut", "flipped", "no manifest", "torn manifest"])
def test_a_damaged_backup_is_refused_before_anything_is_made(tmp_path, damage):
    file, manifest = tmp_path / "b", tmp_path / "b.manifest.json"
    call_command("backup", file)
    content = file.read_bytes()
    if damage == "cut":
        file.write_bytes(content[:-100])
    elif damage == "flipped":
        file.write_bytes(content[:5000] + bytes([content[5000] ^ 1]) + content[5001:])
    elif damage == "no manifest":
        manifest.unlink()
    else:
        manifest.write_text(manifest.read_text()[:50])
    with pytest.raises(CommandError, match="damaged|missing|no manifest"):
        call_command("restore_backup", file, into="never_made")
    with psycopg.connect(backup.conninfo()) as client:
        assert backup.one(client, "select count(*) from pg_database where datname = 'never_made'") == 0


def test_a_backup_of_a_newer_trainmon_is_refused(tmp_path):
    call_command("backup", tmp_path / "b")
    manifest = tmp_path / "b.manifest.json"
    said = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(said | {"migrations": [*said["migrations"], "runs.9999_later"]}))
    with pytest.raises(CommandError, match="runs.9999_later"):
        call_command("restore_backup", tmp_path / "b", into="never_made")


def test_a_restore_that_lacks_rows_is_undone(tmp_path):
    call_command("backup", tmp_path / "b")
    manifest = tmp_path / "b.manifest.json"
    said = json.loads(manifest.read_text())
    said["rows"]["public.auth_user"] += 1
    manifest.write_text(json.dumps(said))
    with pytest.raises(CommandError, match="auth_user: 1 expected, 0 found"):
        call_command("restore_backup", tmp_path / "b", into="never_made")
    with psycopg.connect(backup.conninfo()) as client:
        assert backup.one(client, "select count(*) from pg_database where datname = 'never_made'") == 0


def test_from_one_data_directory_into_another(home, with_tables):
    with_tables(home)
    ask(home, "insert into auth_group (name) values ('kept')")
    done = manage(home, "backup")
    assert done.returncode == 0, done.stderr
    (file,) = (home / "backups").glob("*.trainmon")
    second = home.with_name("second")
    restored = manage(second, "restore_backup", str(file))
    assert restored.returncode == 0, restored.stderr
    assert ask(second, "select name from auth_group where name not in ('viewer', 'operator', 'admin')").stdout == "said kept\n"
    assert wait_until(lambda: not living(home) and not living(second))
