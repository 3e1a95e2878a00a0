"""Settings: the embedded default, a given server, and what production refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import django
import pytest
from django.db import connection

ROOT = Path(__file__).resolve().parents[2]
GOOD = {
    "TRAINMON_ENV": "production",
    "TRAINMON_SECRET_KEY": "k" * 50,
    "TRAINMON_HOSTS": "trainmon.example.org",
    "DATABASE_URL": "postgresql://u:p@db.example.org/trainmon",
    "REDIS_URL": "redis://valkey:6379/0",
}
PRINT = (
    "import json; from django.conf import settings as s; "
    "print(json.dumps({n: getattr(s, n) for n in ('DATABASES', 'REDIS_URL', 'CELERY_BROKER_URL')}))"
)


def load(tmp_path: Path, code: str = PRINT, **variables: str) -> subprocess.CompletedProcess[str]:
    """Read settings in a process of its own with exactly these variables."""
    env = {"PATH": os.environ["PATH"], "DJANGO_SETTINGS_MODULE": "trainmon.settings", "TRAINMON_HOME": str(tmp_path)}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env | variables, capture_output=True, text=True, timeout=60
    )


def test_a_good_production_environment_loads(tmp_path):
    done = load(tmp_path, **GOOD)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["CELERY_BROKER_URL"] == "redis://valkey:6379/0"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"TRAINMON_SECRET_KEY": ""}, "TRAINMON_SECRET_KEY"),
        ({"TRAINMON_SECRET_KEY": "secret"}, "TRAINMON_SECRET_KEY"),
        ({"TRAINMON_DEBUG": "1"}, "TRAINMON_DEBUG"),
        ({"TRAINMON_HOSTS": ""}, "TRAINMON_HOSTS"),
        ({"TRAINMON_HOSTS": "*"}, "TRAINMON_HOSTS"),
    ],
)
def test_production_refuses_to_start(tmp_path, changed, said):
    done = load(tmp_path, **(GOOD | changed))
    assert done.returncode != 0
    assert "ImproperlyConfigured" in done.stderr and said in done.stderr.splitlines()[-1]


def test_without_a_url_the_sockets_lie_under_home(tmp_path):
    found = json.loads(load(tmp_path).stdout)
    assert found["DATABASES"]["default"]["HOST"] == str(tmp_path / "run")
    assert found["CELERY_BROKER_URL"] == f"redis+socket://{tmp_path}/run/valkey.sock"


def test_reading_settings_starts_nothing(tmp_path):
    load(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["secret_key"]


def test_the_socket_form_of_a_url_keeps_its_folder_beside_the_pool(tmp_path):
    url = "postgresql://me@/mine?host=/var/run/pg"
    conf = json.loads(load(tmp_path, DATABASE_URL=url, TRAINMON_DB_POOL="5").stdout)["DATABASES"]["default"]
    assert conf["OPTIONS"]["host"] == "/var/run/pg"
    assert conf["OPTIONS"]["pool"]["max_size"] == 5 and conf["CONN_MAX_AGE"] == 0


def test_a_url_that_cannot_be_read_is_refused_without_showing_the_password(tmp_path):
    done = load(tmp_path, DATABASE_URL="postgresql://u:p/w@host/x")
    assert "Percent-encode" in done.stderr.splitlines()[-1]


def test_another_kind_of_database_is_refused(tmp_path):
    done = load(tmp_path, DATABASE_URL="sqlite:///x.db")
    assert done.returncode != 0 and "PostgreSQL" in done.stderr


@pytest.mark.django_db
def test_the_database_of_the_tests_is_real_and_runs_in_utc():
    with connection.cursor() as cursor:
        cursor.execute("select current_setting('TimeZone'), current_setting('server_encoding')")
        assert cursor.fetchone() == ("UTC", "UTF8")


def test_manage_py_goes_on_with_the_python_that_has_django():
    other = [os.path.realpath(sys.executable), "-S"]
    assert subprocess.run([*other, "-c", "import django"], cwd=ROOT, capture_output=True).returncode == 1
    done = subprocess.run([*other, "manage.py", "version"], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == django.__version__, done.stderr
