"""The tables after a test: as migrations left them, in a hundredth of the time of Django's flush, which makes every file anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction

#: What migrations fill. All the other tables are empty between tests.
FILLED = ("django_content_type", "auth_permission", "auth_group", "auth_group_permissions")
#: The audit trail only grows, whoever asks: what a test wrote there goes while nothing guards it.
TRAIL, GUARDS = "runs_auditentry", ("runs_audit_only_grows", "runs_audit_is_not_emptied")


class Emptying:
    """Deletes what a test has written; flushes where what migrations had written is not there any more."""

    def __init__(self, flush: Callable[[Any], None]) -> None:
        self.flush = flush
        self.filled: dict[str, list[tuple[int, str]]] = {}

    def __call__(self, case: Any) -> None:
        if not self.filled or not self.emptied():
            self.flush(case)
            self.filled = filled()

    def emptied(self) -> bool:
        """Whether all is as it was at first."""
        names = connection.introspection.django_table_names(only_existing=True, include_views=False)
        with transaction.atomic(), connection.cursor() as cursor:
            # whoever still writes ends first, as with TRUNCATE
            cursor.execute(f"LOCK TABLE {', '.join(names)} IN SHARE ROW EXCLUSIVE MODE")
            cursor.execute(" UNION ALL ".join(f"(SELECT '{name}' FROM {name} LIMIT 1)" for name in names))
            written = [name for name, in cursor.fetchall()]
            cursor.execute("SET LOCAL session_replication_role = replica")  # no triggers: all goes
            for name in set(written) - {TRAIL}:
                kept = [pk for pk, _ in self.filled.get(name, [])]
                cursor.execute(f"DELETE FROM {name}" + (" WHERE id <> ALL(%s)" if kept else ""), [kept] if kept else None)
            if TRAIL in written:
                with unguarded(cursor):
                    cursor.execute(f"DELETE FROM {TRAIL}")
        return filled() == self.filled


def flushing(flush: Callable[[Any], None]) -> Callable[[Any], None]:
    """Django's flush, which truncates the audit trail, too."""
    def flushed(case: Any) -> None:
        with connection.cursor() as cursor, unguarded(cursor):
            flush(case)
    return flushed


@contextmanager
def unguarded(cursor: Any) -> Iterator[None]:
    """Without the triggers of the audit trail."""
    cursor.execute(f"ALTER TABLE {TRAIL} DISABLE TRIGGER USER")
    yield
    cursor.execute(f"ALTER TABLE {TRAIL} " + ", ".join(f"ENABLE ALWAYS TRIGGER {one}" for one in GUARDS))


def filled() -> dict[str, list[tuple[int, str]]]:
    """The rows of the tables that migrations fill."""
    found = {}
    with connection.cursor() as cursor:
        for name in FILLED:
            cursor.execute(f"SELECT id, filled::text FROM {name} filled ORDER BY id")
            found[name] = cursor.fetchall()
    return found
