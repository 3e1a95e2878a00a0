from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from django.contrib.auth.models import User

from runs import hooks
from runs.chunks import pack, summarize, unpack
from runs.dump import KINDS, dump
from runs.loading import Unreadable, load
from runs.models import Bookmark, Event, LogFile, Note, Run, Series, SeriesChunk, SeriesTail, Transition
from runs.series import recount
from tests.runs import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(lora, alice) -> Run:
    """A run with something of every kind, odd values and both chunks and a tail among it."""
    run = factories.make_full_run(factories.make_source(lora), tags=["good"], pinned=True)
    file = run.log_files.get()
    points = np.arange(3), np.array([1.0, 2.0, np.nan]), np.array([np.nan, np.inf, 5e-324])
    series = run.series.get(tag__name="train/loss")
    facts = summarize(*points)
    SeriesChunk.objects.create(series=series, log_file=file, generation=0, part=1, start=0, data=pack(*points),
                               **{name: getattr(facts, name) for name in facts.__slots__})
    run.segments.create(log_file=file, generation=0, part=7, reason="start", offset=0, first_wall=1.5)
    job = run.jobs.get()
    job.chunks.create(log_file=file, generation=0, start=0, count=1, data=b"\x00packed\xff")
    run.checkpoints.create(job=job, said="/models/last.pt", path=b"\xff.pt")
    Note.objects.create(run=run, author=alice, text='hostile "\u202e <script>\n')
    Bookmark.objects.create(run=run, owner=alice)
    Transition.objects.filter(run=run).update(seen=datetime(2025, 1, 1, tzinfo=UTC))
    Note.objects.filter(run=run).update(created=datetime(2025, 2, 2, tzinfo=UTC))
    Run.objects.filter(pk=run.pk).update(point_count=recount(run.pk), version=5)
    return run


def lines(run: Run) -> list[bytes]:
    return list(dump(Run.objects.get(pk=run.pk)))


def told(run: Run) -> list[dict[str, Any]]:
    """What a dump says, without what differs in another registry: ids, versions, when alerts were told."""
    names: dict[tuple[str, int], int] = {}
    found = []
    for line in map(json.loads, lines(run)):
        if "id" in line:
            names[line["of"], line["id"]] = len(names)
        for name, of in (("log_file", "logfile"), ("series", "series"), ("job", "job")):
            if line.get(name) is not None:
                line[name] = names[of, line[name]]
        found.append({key: value for key, value in line.items() if key not in ("id", "version", "processed")})
    return found


def without_id(run: Run) -> Run:
    """The same place in a registry that lost the run."""
    source, path, name, created = run.source, bytes(run.path), run.name, run.created
    run.delete()
    bare = Run.objects.create(source=source, path=path, name=name)
    Run.objects.filter(pk=bare.pk).update(created=created)
    return bare


def test_a_dump_has_a_line_for_every_row_of_a_run_and_of_no_other(run):
    other = factories.make_full_run(run.source, name="other")
    found = [json.loads(line) for line in lines(run)]
    assert found[0]["of"] == "run" and found[0]["tags"] == ["good"] and found[0]["trainer"] == "lora"
    assert {line["of"] for line in found} == {"run"} | {kind.name for kind in KINDS} - {"eventid"}
    assert [line["text"] for line in found if line["of"] == "note"] == ["looks good\nso far", 'hostile "\u202e <script>\n']
    assert {line["log_file"] for line in found if "log_file" in line} == {run.log_files.get().pk} != {other.log_files.get().pk}


def test_points_are_in_a_dump_bit_for_bit(run):
    chunk = next(json.loads(line) for line in lines(run) if json.loads(line)["of"] == "serieschunk")
    steps, walls, values = unpack(base64.b64decode(chunk["data"]))
    assert values.tobytes() == np.array([np.nan, np.inf, 5e-324]).tobytes() and steps.tolist() == [0, 1, 2]
    assert np.isnan(walls[2])


def test_a_registry_that_lost_a_run_gets_back_all_of_it(run):
    before, kept = told(run), lines(run)
    bare = without_id(run)
    loaded = load(kept, bare)
    assert told(bare) == before
    assert (loaded.rows["note"], loaded.rows["serieschunk"], loaded.rows["seriestail"]) == (2, 1, 2)
    assert loaded.unknown == set()
    assert Run.objects.get(pk=bare.pk).version == bare.version + 1


def test_loading_again_changes_nothing(run):
    before, kept = told(run), lines(run)
    loaded = load(kept, run)
    assert set(loaded.rows.values()) == {0} and told(run) == before
    bare = without_id(run)
    load(kept, bare)
    load(kept, bare)
    assert told(bare) == before


def test_only_what_is_missing_comes_back_what_people_wrote_since_stays(run, alice):
    kept = lines(run)
    SeriesChunk.objects.filter(series__run=run).delete()
    SeriesTail.objects.filter(series__run=run).delete()
    Note.objects.filter(run=run, author=alice).delete()
    Note.objects.create(run=run, text="written since")
    Run.objects.filter(pk=run.pk).update(tags=["renamed"], status="failed", point_count=0)
    loaded = load(kept, run)
    assert {kind: count for kind, count in loaded.rows.items() if count} == {"serieschunk": 1, "seriestail": 2, "note": 1}
    run.refresh_from_db()
    assert (run.tags, run.status) == (["renamed"], "failed") and run.point_count == 7
    assert set(run.notes.values_list("text", flat=True)) == {"looks good\nso far", 'hostile "\u202e <script>\n', "written since"}


def test_a_file_that_was_read_anew_since_keeps_its_new_points_only(run):
    kept = lines(run)
    LogFile.objects.filter(run=run).update(generation=3, offset=1)
    SeriesTail.objects.filter(series__run=run, series__tag__name="eval/loss").delete()
    Event.objects.filter(run=run).delete()
    loaded = load(kept, run)
    assert set(loaded.rows.values()) == {0}


def test_a_transition_that_comes_back_alerts_nobody_again(run):
    kept = lines(run)
    assert Transition.objects.filter(run=run, processed=None).exists()
    bare = without_id(run)
    load(kept, bare)
    assert not Transition.objects.filter(run=bare, processed=None).exists()


def test_what_a_user_did_who_is_gone_comes_back_without_them_and_makes_nobody(run, alice):
    kept = lines(run)
    bare = without_id(run)
    alice.delete()
    load(kept, bare)
    assert [note.author for note in bare.notes.all()] == [None, None] and not bare.bookmarks.exists()
    assert not User.objects.filter(username="alice").exists()


def test_a_dump_of_another_site_is_loaded_into_another_trainer_and_touches_nothing_of_the_first(run):
    before, kept = told(run), lines(run)
    router = factories.make_source(factories.make_trainer("router"))
    bare = Run.objects.create(source=router, path=b"elsewhere", name="elsewhere")
    load(kept, bare)
    assert told(run) == before
    bare.refresh_from_db()
    assert bare.dataset.trainer.slug == "router" and bare.source == router
    assert set(bare.jobs.values_list("source", flat=True)) == {router.pk}


@pytest.mark.parametrize(
    "line",
    [
        b"", b"{", b"[]", b"1", b'{"of": 1}', b"\xff", b'{"of": "note"}', b'{"of": "note", "text": null, "created": "soon"}',
        b'{"of": "note", "text": "a\\u0000b", "created": "2025-01-01T00:00:00Z", "edited": null, "author": null}',
        b'{"of": "logfile", "id": [1], "path": 7}', b'{"of": "run", "tags": ["again"]}',
        b'{"of": "series", "id": 1, "tag": "x", "count": "many"}',
        b'{"of": "checkpoint", "kind": "%99d"}' % 1,
    ],
)  # fmt: skip
def test_a_line_that_cannot_be_is_refused_and_nothing_of_the_dump_stays(run, line):
    kept = lines(run)
    bare = without_id(run)
    with pytest.raises(Unreadable):
        load([*kept, line], bare)
    assert Series.objects.filter(run=bare).count() == 0 and bare.notes.count() == 0


def test_another_app_adds_its_own_to_a_dump_and_gets_it_back(run):
    got: list[Any] = []
    hooks.register("prices", lambda run: [{"cents": 125}, {"run": run.name}], lambda run, data: got.extend([run.pk, *data]))
    try:
        kept = lines(run)
        assert [json.loads(line) for line in kept[-2:]] == [
            {"of": "prices", "data": {"cents": 125}}, {"of": "prices", "data": {"run": "qwen-r16"}}]  # fmt: skip
        load(kept, run)
        assert got == [run.pk, {"cents": 125}, {"run": "qwen-r16"}]
    finally:
        hooks.forget("prices")
    assert load(kept, run).unknown == {"prices"}


def test_a_hook_has_a_name_of_its_own():
    hooks.register("prices", list, print)
    try:
        hooks.register("prices", list, print)
        with pytest.raises(ValueError, match="another has it"):
            hooks.register("prices", tuple, print)
        with pytest.raises(ValueError, match="no name"):
            hooks.register("a name", list, print)
        assert hooks.named("prices") in hooks.registered()
    finally:
        hooks.forget("prices")


def test_a_new_kind_of_row_of_a_run_is_not_forgotten_by_dumps():
    """Every model that leads to a run is dumped, or named here with its reason."""
    derived = {"runtext"}  # written by triggers of the database
    ours = {kind.model for kind in KINDS}
    leads = {
        relation.related_model for model in (Run, LogFile, Series, *ours)
        for relation in model._meta.related_objects if relation.related_model._meta.app_label == "runs"
    }
    assert {model._meta.model_name for model in leads - ours} == derived
