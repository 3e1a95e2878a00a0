#!/usr/bin/env python
"""trainmon's command line: every command works on its own (see docs/operations.md)."""

import os
import sys
from collections.abc import Sequence

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


def uses_database(argv: Sequence[str]) -> bool:
    """Whether a command line needs a running database."""
    words = argv[1:]
    if not words or {"--help", "-h", "--version"} & set(words):
        return False
    return words[0] not in WITHOUT_DATABASE or (words[0] == "check" and "--database" in words)


def have_database() -> None:
    """Start the embedded database unless a server is given, and hold it for as long as we live."""
    if os.environ.get("DATABASE_URL"):
        return
    from django.conf import settings

    from trainmon.embedded import binaries, identity, locks, postgres
    from trainmon.embedded.ensure import ensure

    try:
        ensure(settings.HOME)
    except (binaries.NoBinary, identity.NobodyCanRun, locks.Busy, postgres.StartFailed, OSError) as error:
        sys.exit(f"The embedded database is not available: {error}")


def main() -> None:
    """Run one management command, with the embedded database where none is given."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trainmon.settings")
    from django.core.management import execute_from_command_line

    if uses_database(sys.argv):
        have_database()
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
