"""Two who write about one run at the same time: neither loses the other's words."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from threading import Thread

import pytest
from django.db import connection, transaction

from runs.models import Note, Run
from tests.runs.factories import make_run, make_source
from tests.runs.test_search import words

pytestmark = pytest.mark.django_db(transaction=True)

Write = Callable[[Run], object]


@pytest.fixture
def run() -> Run:
    run = make_run(make_source(), name="watched")
    Note.objects.create(run=run, text="old")
    return run


class Beside:
    """A write in a thread with a connection of its own; what fails there fails in ``end``."""

    def __init__(self, write: Callable[[], object]) -> None:
        self.write = write
        self.failure: Exception | None = None
        self.thread = Thread(target=self.work)
        self.thread.start()

    def work(self) -> None:
        try:
            self.write()
        except Exception as failure:
            self.failure = failure
        finally:
            connection.close()

    def end(self) -> None:
        self.thread.join(30)
        assert not self.thread.is_alive()
        if self.failure:
            raise self.failure


def someone_waits() -> bool:
    """Whether within 10 s another connection waits for a lock of ours."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        with connection.cursor() as cursor:
            # not pg_stat_activity, which stays as it was first seen in a transaction
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))")
            if cursor.fetchone()[0]:
                return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(("second", "word"), [
    (lambda run: Note.objects.create(run=run, text="second"), "second"),
    (lambda run: Note.objects.filter(run=run, text="old").update(text="second"), "second"),
    (lambda run: Run.objects.filter(pk=run.pk).update(tags=["second"]), "second"),
    (lambda run: Note.objects.filter(run=run, text="old").delete(), "watched"),
])  # fmt: skip
def test_who_comes_second_waits_and_keeps_the_words_of_the_first(run: Run, second: Write, word: str) -> None:
    with transaction.atomic():
        Note.objects.create(run=run, text="first")
        other = Beside(lambda: second(run))
        assert someone_waits()
    other.end()
    assert {"first", "watched", word} <= words(run)
    assert ("old" in words(run)) is Note.objects.filter(text="old").exists()


def test_a_rename_that_came_first_is_not_undone_by_a_note(run: Run) -> None:
    with transaction.atomic():
        Run.objects.filter(pk=run.pk).update(name="renamed")
        other = Beside(lambda: Note.objects.create(run=run, text="second"))
        assert someone_waits()
    other.end()
    assert {"renamed", "second", "old"} <= words(run)
    assert "watched" not in words(run)


def test_writers_at_full_speed_leave_the_words_of_all_notes(run: Run) -> None:
    def write(name: str) -> None:
        for number in range(25):
            note = Note.objects.create(run=run, text=f"{name}{number}")
            Note.objects.filter(pk=note.pk).update(text=f"{name}{number} kept")
            Run.objects.filter(pk=run.pk).update(tags=[f"{name}tag{number}"])

    for writer in [Beside(partial(write, name)) for name in "abc"]:
        writer.end()
    run.refresh_from_db()
    every = {f"{name}{number}" for name in "abc" for number in range(25)}
    assert words(run) == every | {"kept", "old", "watched", *run.tags}
