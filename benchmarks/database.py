"""Databases of a benchmark's own, on the server of the settings; none is left behind.

``Databases`` migrates one once and makes the empty ones as copies of it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

from benchmarks.common import DATA

ROOT = Path(__file__).parent.parent
MANAGE = [sys.executable, str(ROOT / "manage.py")]


class Databases:
    """A migrated template, and empty databases made from it; all dropped at the end."""

    def __init__(self) -> None:
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trainmon.settings")
        sys.path.insert(0, str(ROOT))
        from django.conf import settings

        from manage import have_database

        have_database()
        self.settings: dict[str, Any] = {**settings.DATABASES["default"]}
        # of a URL of a socket, host and port lie there
        self.settings["OPTIONS"] = options = {**self.settings.get("OPTIONS", {})}
        self.settings |= {name.upper(): options.pop(name) for name in ("host", "port") if name in options}
        self.template = f"trainmon_bench_{os.getpid()}"
        self.made = 0

    def __enter__(self) -> Databases:
        # an end from outside (timeout, Ctrl-C) must drop them too
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        self._create(self.template, "template0")
        try:
            subprocess.run([*MANAGE, "migrate", "--verbosity", "0"], check=True, env=self.env(self.template))
        except BaseException:
            self._drop(self.template)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._drop(self.template)

    @contextmanager
    def empty(self) -> Iterator[str]:
        """The name of a database with all tables and no rows."""
        self.made += 1
        name = f"{self.template}_{self.made}"
        self._create(name, self.template)
        try:
            yield name
        finally:
            self._drop(name)

    @contextmanager
    def bare(self) -> Iterator[str]:
        """The name of a database without any table, for a peer."""
        self.made += 1
        name = f"{self.template}_{self.made}"
        self._create(name, "template0")
        try:
            yield name
        finally:
            self._drop(name)

    def env(self, name: str) -> dict[str, str]:
        """The environment in which trainmon uses this database."""
        of = self.settings
        who = quote(of["USER"] or "", safe="") + (":" + quote(of["PASSWORD"], safe="") if of.get("PASSWORD") else "")
        host, port = str(of.get("HOST") or ""), of.get("PORT") or 5432
        place = f"/{name}?host={quote(host)}&port={port}" if host.startswith("/") else f"{host}:{port}/{name}"
        # our modules compiled once, as any installation has them; the checkout stays clean
        compiled = {"PYTHONPYCACHEPREFIX": str(DATA / "pycache"), "PYTHONDONTWRITEBYTECODE": ""}
        return {**os.environ, **compiled, "DATABASE_URL": f"postgresql://{who}@{place}"}

    def connect(self, name: str) -> psycopg.Connection:
        """An autocommitting connection."""
        of = self.settings
        return psycopg.connect(
            dbname=name, user=of["USER"], password=of.get("PASSWORD") or None, host=str(of.get("HOST") or "") or None,
            port=of.get("PORT") or None, autocommit=True, **of.get("OPTIONS", {}))

    def _create(self, name: str, template: str) -> None:
        with self.connect("postgres") as connection:
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(template)))

    def _drop(self, name: str) -> None:
        with self.connect("postgres") as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
