"""Wrong configuration is said, with what to do; and no variable is unknown to the checks or to the docs."""

from __future__ import annotations

import re

import pytest

from tests.trainmon.machine import ROOT, manage
from trainmon import checks
from trainmon.embedded import binaries


def test_the_checks_know_every_variable_that_is_read_and_the_docs_tell_it():
    code = "".join(path.read_text() for path in [*(ROOT / "trainmon").rglob("*.py"), ROOT / "manage.py", ROOT / "Makefile"])
    read = set(re.findall(r"""["'](TRAINMON_[A-Z_]+|DATABASE_URL|REDIS_URL|LOGS|HOST|PORT)["']""", code))
    told = (ROOT / "docs/operations.md").read_text()
    assert read - checks.VARIABLES == set()
    assert {name for name in checks.VARIABLES if f"`{name}`" not in told} == set()


def test_a_misspelt_variable_is_a_warning(home):
    done = manage(home, "check", TRAINMON_HOST="x")
    assert done.returncode == 0 and "TRAINMON_HOST is set, and trainmon knows no such variable" in done.stderr


@pytest.mark.parametrize("name", checks.POSITIVE)
def test_an_interval_of_nothing_is_an_error(settings, name):
    setattr(settings, name, 0)
    assert f"{name} must be 1 or more." in [found.msg for found in checks.check_variables(None)]


@pytest.mark.parametrize("program", ["tensorboard", "/no/such/tensorboard", "/etc/passwd"])
def test_another_tensorboard_that_is_no_program_is_an_error(settings, program):
    settings.TRAINMON_TB_PROGRAMS = [program]
    found = [one for one in checks.check_variables(None) if one.id == "trainmon.E010"]
    assert [one.msg for one in found] == [f"{program} of TRAINMON_TB_PROGRAMS is no absolute path of a program."]


def test_a_file_in_the_place_of_the_data_directory_is_an_error(home, monkeypatch, settings):
    home.write_text("")
    settings.HOME = home / "below"
    (found,) = checks.check_home(None)
    assert found.id == "trainmon.E003" and "TRAINMON_HOME" in found.hint


def test_no_valkey_is_a_warning_with_what_to_do(monkeypatch):
    monkeypatch.setattr(binaries, "valkey_server", lambda: None)
    monkeypatch.delenv("REDIS_URL", raising=False)
    assert [found.id for found in checks.check_servers(None)] == ["trainmon.W005"]


@pytest.mark.django_db
def test_the_database_of_the_tests_has_nothing_wrong():
    assert checks.check_database(databases=["default"]) == []


def test_a_volume_that_cannot_be_asked_is_an_error(settings):
    settings.TRAINMON_VOLUMES = {"/v": {"commit": ["sync"]}}
    assert [one.msg for one in checks.check_volumes(None)] == [
        "TRAINMON_VOLUMES: /v: commit: 'sync' is no absolute path of a program."]
    settings.TRAINMON_VOLUMES = {"/v": {"kind": "local"}}
    assert checks.check_volumes(None) == []
