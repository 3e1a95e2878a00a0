"""Reconcile finds what was changed in the registry, and tells what it cannot compare."""

from __future__ import annotations

import json
from io import StringIO

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from tensorboardX import SummaryWriter

from runs import chunks
from runs.models import LogFile, Run, Sample, Segment, Series, SeriesChunk, SeriesTail, TextSummary
from tests.runs.readers.event_bytes import record, scalars
from tests.runs.reconciling import agreed, event_file, found, points_of, reconciled, repack, text_value
from tests.runs.trees import WALL, grow, job_log, synced, write, write_x

pytestmark = pytest.mark.django_db



def test_a_changed_value_in_a_chunk(tmp_path):
    def change(steps, walls, values):
        values[17] = 99.0
        return steps, walls, values

    repack(points_of(tmp_path), change)
    assert ("tag0", "value", 17, "4.25 (<f4)") in found(reconciled())


def test_a_value_whose_sign_of_zero_alone_changed(tmp_path):
    def change(steps, walls, values):
        values[0] = -0.0
        return steps, walls, values

    repack(points_of(tmp_path), change)
    assert found(reconciled()) == [("tag0", "value", 0, "0.0 (<f4)")]


def test_a_changed_step_and_wall_time(tmp_path):
    def change(steps, walls, values):
        steps[5] += 1
        walls[6] = np.nextafter(walls[6], np.inf)
        return steps, walls, values

    repack(points_of(tmp_path), change)
    assert [(what, position) for _, what, position, _ in found(reconciled())] == [("step", 5), ("wall time", 6)]


def test_values_that_were_widened(tmp_path):
    repack(points_of(tmp_path), lambda steps, walls, values: (steps, walls, values.astype("<f8")))
    assert [what for _, what, _, _ in found(reconciled())] == ["type of the values"]


def test_a_missing_point_at_the_end(tmp_path):
    repack(points_of(tmp_path), lambda *columns: tuple(column[:-1] for column in columns), last_step=298,
           last=74.5, last_wall=WALL + 298, maximum=74.5)
    assert found(reconciled()) == [("tag0", "points that are not stored", 299, "299 (<i8)")]


def test_a_missing_point_in_the_middle(tmp_path):
    repack(points_of(tmp_path), lambda *columns: tuple(np.delete(column, 100) for column in columns))
    assert ("tag0", "step", 100, "100 (<i8)") in found(reconciled())


def test_an_extra_point(tmp_path):
    repack(points_of(tmp_path), lambda *columns: tuple(np.append(column, column[-1]) for column in columns))
    assert found(reconciled()) == [("tag0", "points that the file does not hold", 300, "nothing")]


def test_a_chunk_that_is_gone(tmp_path):
    SeriesChunk.objects.filter(series=points_of(tmp_path)).delete()
    (one,) = reconciled().differences
    assert (one.what, one.position, one.more) == ("points that are not stored", 0, 299)


def test_a_chunk_that_cannot_be_read(tmp_path):
    SeriesChunk.objects.filter(series=points_of(tmp_path)).update(data=b"\x09\x01\0\0\0\0")
    assert [what for _, what, _, _ in found(reconciled())] == ["a chunk"]


def test_a_whole_series_that_no_file_holds(tmp_path):
    series = points_of(tmp_path)
    other = Series.objects.get(tag__name="tag1")
    SeriesChunk.objects.filter(series=other).update(part=1)
    assert {("tag1", "points that are not stored"), ("tag1", "points that the file does not hold")} <= {
        (tag, what) for tag, what, _, _ in found(reconciled())}
    assert not [one for one in reconciled().differences if one.tag == series.tag.name]


def test_a_wrong_point_in_a_tail(tmp_path):
    write(tmp_path / "run", 1, 30)
    synced(tmp_path)
    row = SeriesTail.objects.get()
    steps, walls, values = (np.array(one) for one in chunks.unpack(bytes(row.data)))
    values[3] = np.nan
    SeriesTail.objects.update(data=chunks.pack(steps, walls, values, raw=True))
    assert ("tag0", "value", 3, "0.75 (<f4)") in found(reconciled())


@pytest.mark.parametrize("column,wrong", [("count", 299), ("first_step", 1), ("last", 1.0), ("last_step", 3),
                                          ("last_wall", WALL), ("minimum", -1.0), ("maximum", None), ("nonfinite", 1)])
def test_a_wrong_summary(tmp_path, column, wrong):
    Series.objects.filter(pk=points_of(tmp_path).pk).update(**{column: wrong})
    assert {one.tag for one in reconciled().differences if one.tag} == {"tag0"}


def test_a_wrong_summary_of_a_chunk(tmp_path):
    SeriesChunk.objects.filter(series=points_of(tmp_path)).update(maximum=1e9)
    assert found(reconciled()) == [("tag0", "a chunk's maximum", 0, "74.75")]


def test_a_wrong_point_count(tmp_path):
    points_of(tmp_path)
    Run.objects.update(point_count=7)
    assert [one.what for one in reconciled().differences] == ["the run's point count"]


def test_a_wrong_text_and_one_too_many(tmp_path):
    event_file(tmp_path, record(1, WALL, text_value("t", "one")), record(2, WALL, text_value("t", "two")))
    agreed(tmp_path)
    TextSummary.objects.filter(step=1).update(text="won")
    assert [(one.what, one.ours, one.theirs) for one in reconciled().differences] == [("a text's text", "'won'", "'one'")]
    TextSummary.objects.filter(step=2).delete()
    assert "a text" in [one.what for one in reconciled().differences]


def test_a_wrong_reference(tmp_path):
    with SummaryWriter(str(tmp_path / "run")) as writer:
        writer.add_image("seen", np.zeros((3, 8, 8)), 3)
    agreed(tmp_path)
    Sample.objects.update(offset=0)
    assert [one.what for one in reconciled().differences] == ["a reference's offset"]


def test_a_wrong_segment(tmp_path):
    points_of(tmp_path)
    Segment.objects.update(last_step=5)
    assert [(one.what, one.part) for one in reconciled().differences] == [("a segment", 0)]


def test_damage_that_was_not_counted(tmp_path):
    event_file(tmp_path, *scalars(5), b"\x07" + scalars(1)[0][1:], *scalars(5, start=5))
    agreed(tmp_path)
    LogFile.objects.update(lost_bytes=0, damages=[])
    assert {one.what for one in reconciled().differences} == {"lost bytes", "where it is damaged"}


def test_a_complete_record_that_was_not_read(tmp_path):
    path = event_file(tmp_path, *scalars(5))
    agreed(tmp_path)
    grow(path, scalars(1, start=5)[0])
    LogFile.objects.update(size=path.stat().st_size)
    assert [one.what for one in reconciled().differences] == ["a complete record"]


def test_a_log_whose_value_changed(tmp_path):
    job_log(tmp_path / "job.jsonl", steps=300)
    synced(tmp_path)
    repack(Series.objects.get(tag__name="loss"), lambda steps, walls, values: (steps, walls, values * 2))
    assert ("loss", "value", 0, "1.0 (<f8)") in found(reconciled())


# What is no difference


def test_growth_since_the_sync_is_not_yet_synced(tmp_path):
    path = event_file(tmp_path, *scalars(5))
    synced(tmp_path)
    grow(path, scalars(1, start=5)[0])
    total = reconciled()
    assert (total.found, [note.kind for note in total.notes]) == (0, ["not yet synced"])


def test_a_file_that_is_gone_cannot_be_compared(tmp_path):
    path = write(tmp_path / "run", 2, 300)
    write(tmp_path / "run", 1, 10, start=300)
    synced(tmp_path)
    path.unlink()
    total = reconciled()
    assert (total.found, total.files, [note.kind for note in total.notes]) == (0, 1, ["cannot be compared"])


def test_a_summary_is_checked_even_where_the_file_is_gone(tmp_path):
    series = points_of(tmp_path)
    next((tmp_path / "run").iterdir()).unlink()
    Series.objects.filter(pk=series.pk).update(minimum=-5.0)
    assert [one.what for one in reconciled().differences] == ["the series' minimum"]


def test_an_exchanged_file_has_changed_since_the_last_sync(tmp_path):
    path = write(tmp_path / "run", 2, 300)
    synced(tmp_path)
    path.write_bytes(write_x(tmp_path / "other").read_bytes())
    total = reconciled()
    assert (total.found, [note.kind for note in total.notes]) == (0, ["changed since the last sync"])


# The command


def test_the_command_says_what_differs_and_exits_with_1(tmp_path, capsys):
    Series.objects.filter(pk=points_of(tmp_path).pk).update(minimum=-5.0)
    out, err = StringIO(), StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("reconcile", stdout=out, stderr=err)
    assert ended.value.code == 1
    assert "minimum" in err.getvalue() and "tag0" in err.getvalue() and "600" in out.getvalue()


def test_the_command_prints_one_object_and_exits_with_0(tmp_path):
    points_of(tmp_path)
    out = StringIO()
    call_command("reconcile", "--json", run=Run.objects.get().pk, stdout=out)
    told = json.loads(out.getvalue())
    assert (told["ok"], told["points"], told["files"], told["differences"]) == (True, 600, 1, [])


def test_an_unknown_run_is_a_bad_argument():
    with pytest.raises(CommandError) as refused:
        call_command("reconcile", run=4711)
    assert refused.value.returncode == 2
