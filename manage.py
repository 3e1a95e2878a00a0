#!/usr/bin/env python
"""trainmon's command line: every command works on its own (see docs/operations.md)."""

import gc
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

# Commands that never ask the database; `up` starts it for itself. `makemigrations` is not among them:
# it compares the history that the database has with the files.
WITHOUT_DATABASE = {
    "help",
    "version",
    "check",
    "collectstatic",
    "compilemessages",
    "diffsettings",
    "down",
    "findstatic",
    "makemessages",
    "spectacular",
    "startapp",
    "startproject",
    "test",
    "up",
}

# Commands that make or read the tables themselves: no others find a new database without tables.
MIGRATING = 7206437
MIND_THE_TABLES = {
    "backup",
    "dbshell",
    "inspectdb",
    "makemigrations",
    "migrate",
    "restore_backup",
    "showmigrations",
    "sqlmigrate",
}


def uses_database(argv: Sequence[str]) -> bool:
    """Whether a command line needs a running database."""
    words = argv[1:]
    if not words or {"--help", "-h", "--version"} & set(words):
        return False
    return words[0] not in WITHOUT_DATABASE or (words[0] == "check" and "--database" in words)


def have_database(command: str = "migrate") -> None:
    """Start the embedded database unless a server is given, and hold it for as long as we live.

    A new one gets its tables, unless ``command`` makes or reads them itself.
    """
    if os.environ.get("DATABASE_URL"):
        return
    from django.conf import settings

    from trainmon.embedded import binaries, identity, locks, postgres
    from trainmon.embedded.ensure import ensure

    try:
        ensure(settings.HOME)
        if command not in MIND_THE_TABLES:
            migrate_if_new()
    except (binaries.NoBinary, identity.NobodyCanRun, locks.Busy, postgres.StartFailed, OSError) as error:
        sys.exit(f"The embedded database is not available: {error}")


def migrate_if_new() -> None:
    """Give a new embedded database its tables: the first command may be any."""
    from django.core.management import call_command
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('django_migrations') IS NULL")
        if cursor.fetchone() == (False,):
            return
        # of several commands at once one makes the tables, the others wait
        cursor.execute("SELECT pg_advisory_lock(%s)", [MIGRATING])
        try:
            call_command("migrate", verbosity=0, interactive=False)
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [MIGRATING])


def be_ours() -> None:
    """Go on with the Python of `make install`, where the one that was called has not what we need."""
    if importlib.util.find_spec("django"):
        return
    ours = Path(__file__).resolve().parent / ".venv/bin/python"
    if not ours.exists() or Path(sys.executable) == ours:
        sys.exit("This Python has no Django. `make install` makes .venv, which has all that trainmon needs; then run this again.")
    os.execv(ours, [str(ours), *sys.argv])


def main() -> None:
    """Run one management command, with the embedded database where none is given."""
    be_ours()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trainmon.settings")
    if sys.argv[1:2] == ["sync_runs"] and "--watch" in sys.argv:
        os.environ.setdefault("TRAINMON_SERVICE", "follower")
    if sys.argv[1:2] == ["tensorboards"]:
        os.environ.setdefault("TRAINMON_SERVICE", "tensorboards")
    # what imports make lives as long as we do: collecting it again and again is a third of the start
    gc.disable()
    import django
    from django.core.management import execute_from_command_line
    from django.db import ProgrammingError

    django.setup()
    gc.freeze()
    gc.enable()

    if uses_database(sys.argv):
        have_database(sys.argv[1])
    try:
        execute_from_command_line(sys.argv)
    except ProgrammingError as error:
        if type(error.__cause__).__name__ not in {"UndefinedTable", "UndefinedColumn"}:
            raise
        said = str(error).splitlines()[0]
        sys.exit(f"The database is not of this version of trainmon ({said}). Update it with: manage.py migrate")


if __name__ == "__main__":
    main()
