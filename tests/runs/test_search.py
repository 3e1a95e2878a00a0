"""The words that a run is found by follow whatever is written about it."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.db import connection

from runs.models import Note, Run, RunText
from tests.runs.factories import make_run, make_source

pytestmark = pytest.mark.django_db


def words(run: Run) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT tsvector_to_array(words) FROM runs_runtext WHERE run_id = %s", [run.pk])
        return set(cursor.fetchone()[0])


def test_a_new_run_has_the_words_of_its_name_dataset_and_parameters():
    run = make_run(make_source(), name="Lora_r8-Alpaca.v2", dataset="routing_2025", params={"opt": {"lr": 0.25}})
    assert {"lora", "r8", "alpaca", "v2", "routing", "2025", "opt", "lr", "25"} <= words(run)


def test_words_follow_a_rename_a_tag_an_error_and_notes():
    run = make_run(make_source(), name="first")
    Run.objects.filter(pk=run.pk).update(name="second", tags=["baseline"], error_type="OutOfMemoryError")
    assert {"second", "baseline", "outofmemoryerror"} <= words(run)
    assert "first" not in words(run)
    note = Note.objects.create(run=run, text="Looks promising")
    assert "promising" in words(run)
    note.delete()
    assert "promising" not in words(run)


def test_a_huge_or_odd_text_stops_no_sync():
    run = make_run(make_source(), name="x" * 5000 + "'\\:*&|!", params={f"k{n}": "й" * 50 for n in range(20_000)})
    assert len(words(run)) <= 20_000
    assert len(RunText.objects.get(run=run).name) == 1000


def test_words_go_with_their_run():
    run = make_run(make_source())
    Note.objects.create(run=run, text="goes too")
    run.delete()
    connection.check_constraints()
    assert not RunText.objects.exists()


def test_a_note_outlives_its_author(bob: User):
    note = Note.objects.create(run=make_run(make_source()), author=bob, text="kept")
    bob.delete()
    note.refresh_from_db()
    assert note.author is None
