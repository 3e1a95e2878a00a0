"""A database as migrations leave it: made once, and kept until one of them changes. Those of the tests are copies of it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from django.conf import settings
from django.db import connection

from trainmon.embedded import locks

NAME = "tests_migrated_"
ROOT = Path(__file__).parent.parent


def migrated() -> str:
    """The name of that database. It takes five seconds of a processor to make, a tenth of one to copy."""
    said = [*sorted(ROOT.glob("*/migrations/*.py")), ROOT / "requirements.txt"]
    name = NAME + hashlib.sha256(b"\0".join(path.read_bytes() for path in said)).hexdigest()[:16]
    with locks.locked(settings.HOME / "tests.lock", timeout=120), connection._nodb_cursor() as cursor:
        cursor.execute("SELECT datname FROM pg_database WHERE datname LIKE %s", [f"{NAME}%"])
        found = [row for row, in cursor.fetchall()]
        if name not in found:
            for older in found:
                cursor.execute(f"DROP DATABASE {older}")
            make(name + "_half")
            cursor.execute(f"ALTER DATABASE {name}_half RENAME TO {name}")
    return name


def make(name: str) -> None:
    """Run all migrations in a new database."""
    used, tested = connection.settings_dict["NAME"], connection.settings_dict["TEST"]
    connection.settings_dict["TEST"] = tested | {"NAME": name}
    try:
        connection.creation.create_test_db(verbosity=0, serialize=False)
    finally:
        connection.close()
        connection.close_pool()
        connection.settings_dict |= {"NAME": used, "TEST": tested}
        settings.DATABASES["default"]["NAME"] = used
