"""Real `manage.py sync_runs` processes on the test database."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

from django.db import connection

ROOT = Path(__file__).resolve().parents[2]


def database_url() -> str:
    """The test database, as a process of its own reaches it."""
    found = connection.settings_dict
    host, port = str(found["HOST"]), found["PORT"] or 5432
    if host.startswith("/"):
        return f"postgresql://{found['USER']}@:{port}/{found['NAME']}?host={quote(host, safe='')}"
    return f"postgresql://{found['USER']}:{found['PASSWORD']}@{host}:{port}/{found['NAME']}"


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "TRAINMON_", "DJANGO_ALLOW"))}
    return kept | {"DATABASE_URL": database_url(), "TRAINMON_SECRET_KEY": "x" * 50} | more


def argv(*words: str) -> list[str]:
    return [sys.executable, "manage.py", "sync_runs", *words]


def sync_command(*words: str, before: list[str] | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    """Run sync_runs to its end."""
    return subprocess.run([*(before or []), *argv(*words)], cwd=ROOT, env=environment(**env), capture_output=True,
                          text=True, timeout=120, check=False)


def sync_in_background(*words: str, **env: str) -> subprocess.Popen[str]:
    """Start sync_runs, in a process group of its own."""
    return subprocess.Popen(argv(*words), cwd=ROOT, env=environment(**env), text=True, start_new_session=True,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
