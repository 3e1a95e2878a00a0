"""Reconcile agrees with the sync on whatever real writers wrote, and finds what was changed since."""

from __future__ import annotations

import ast
import json
import os
import random
import struct
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.plugins.scalar import metadata as scalar_metadata
from tensorboard.plugins.text import metadata as text_metadata
from tensorboard.util import tensor_util
from tensorboardX import SummaryWriter

from runs import chunks
from runs.models import LogFile, Run, Sample, Segment, Series, SeriesChunk, SeriesTail, TextSummary
from runs.reconcile.compare import compare
from runs.reconcile.outcome import Compared
from tests.runs.readers import joblines
from tests.runs.readers.event_bytes import event, framed, record, scalars, simple
from tests.runs.trees import grow, job_log, settle, synced, write, write_x

pytestmark = pytest.mark.django_db
WALL = 1_700_000_000.0


def reconciled() -> Compared:
    """All runs compared; what is compared twice must be the same."""
    total = Compared()
    for pk in Run.objects.order_by("pk").values_list("pk", flat=True):
        total.add(compare(pk))
    return total


def agreed(root: Path) -> Compared:
    """Sync a tree and compare: there is no difference."""
    synced(root)
    total = reconciled()
    assert [str(one) for one in total.differences] == []
    return total


def event_file(root: Path, *records: bytes, name: str = "run/events.out.tfevents.1700000000.host.1.0") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(framed(event_pb2.Event(file_version="brain.Event:2", wall_time=WALL).SerializeToString()) +
                     b"".join(records))
    return path


def tensor_value(tag: str, value: Any, plugin: Any = None) -> summary_pb2.Summary.Value:
    """As tf.summary writes it."""
    plugin = scalar_metadata.create_summary_metadata("", "") if plugin is None else plugin
    return summary_pb2.Summary.Value(tag=tag, tensor=tensor_util.make_tensor_proto(value), metadata=plugin)


def text_value(tag: str, *texts: str) -> summary_pb2.Summary.Value:
    return tensor_value(tag, np.array([one.encode() for one in texts], object), text_metadata.create_summary_metadata("", ""))


def points_of(root: Path, tag: str = "tag0") -> Series:
    """A synced run of 300 steps and one of its series."""
    write(root / "run", 2, 300)
    synced(root)
    return Series.objects.get(tag__name=tag)


def repack(series: Series, change: Callable[[np.ndarray, np.ndarray, np.ndarray], Any], **columns: Any) -> None:
    """Change the points of a series' only chunk."""
    row = SeriesChunk.objects.get(series=series)
    changed = change(*(np.array(column) for column in chunks.unpack(bytes(row.data))))
    SeriesChunk.objects.filter(series=series).update(data=chunks.pack(*changed), count=len(changed[0]), **columns)


def found(total: Compared) -> list[tuple[str, str, int | None, str]]:
    return [(one.tag, one.what, one.position, one.theirs) for one in total.differences]


# What a sync leaves is what the files say


def test_a_resumed_run_of_two_files(tmp_path):
    write(tmp_path / "run", 3, 60)
    write(tmp_path / "run", 2, 30, start=40, wall=WALL + 100)
    assert agreed(tmp_path).points == 3 * 60 + 2 * 30


def test_a_restart_within_a_file(tmp_path):
    start = event_pb2.Event(wall_time=WALL, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))
    event_file(tmp_path, *scalars(100), *scalars(50, start=20), framed(start.SerializeToString()), *scalars(5, start=70))
    agreed(tmp_path)
    assert [(one.part, one.reason[:7]) for one in Segment.objects.order_by("part")] == [
        (0, "start"), (1, "steps w"), (2, "session")]


def test_jitter_of_threads_is_no_restart(tmp_path):
    steps = [step if step < 64 else step + random.Random(step).randrange(40) for step in range(500)]
    event_file(tmp_path, *(record(step, WALL + step, simple("loss", step)) for step in steps))
    agreed(tmp_path)
    assert Segment.objects.count() == 1


def test_a_truncated_file(tmp_path):
    path = write(tmp_path / "run", 2, 50)
    path.write_bytes(path.read_bytes()[:-7])
    total = agreed(tmp_path)
    assert [note.kind for note in total.notes] == ["not yet synced"]


def test_a_corrupt_record_in_the_middle(tmp_path):
    path = write(tmp_path / "run", 2, 50)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 + 30] ^= 0x40
    path.write_bytes(data)
    synced(tmp_path)
    assert reconciled().differences == []
    assert LogFile.objects.get().bad_records == 1


def test_a_broken_header_in_the_middle(tmp_path):
    records = scalars(30)
    event_file(tmp_path, *records[:20], b"\x07" + records[20][1:], b"rubbish", *records[21:])
    agreed(tmp_path)
    assert LogFile.objects.get().lost_bytes == len(records[20]) + len(b"rubbish")


def test_a_header_that_is_broken_at_the_end(tmp_path):
    event_file(tmp_path, *scalars(30), b"\x07" * 40)
    agreed(tmp_path)
    assert LogFile.objects.get().pending["kind"] == "length crc"


def test_space_that_was_reserved_behind_the_records(tmp_path):
    event_file(tmp_path, *scalars(30), bytes(5000))
    agreed(tmp_path)


def test_a_replaced_file_is_compared_by_its_new_content(tmp_path):
    path = write(tmp_path / "run", 2, 50)
    agreed(tmp_path)
    path.unlink()
    other = write(tmp_path / "other", 1, 70, wall=WALL + 5000)
    other.rename(path)
    (tmp_path / "other").rmdir()
    assert agreed(tmp_path).points == 70
    assert LogFile.objects.get().generation == 1


def test_nan_and_infinities_keep_their_bits(tmp_path):
    bits = [0x7FC00001, 0xFFC12345, 0x7F800000, 0xFF800000, 0x80000000, 0x00000001, 0x7FA00000]
    values = [struct.unpack("<f", struct.pack("<I", one))[0] for one in bits]
    records = [record(step, WALL + step, simple("loss", value)) for step, value in enumerate(values)]
    signalling = record(7, WALL, simple("loss", 1.0)).replace(struct.pack("<f", 1.0), struct.pack("<I", 0x7FA00001))
    payload = signalling[12:-4]
    event_file(tmp_path, *records, framed(payload), record(8, float("nan"), simple("loss", 1.0)))
    agreed(tmp_path)
    assert Series.objects.get().nonfinite == 6


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", "i4", "i8", "u1", "u2", "i1", "?"])
def test_scalars_of_tf_summary_in_every_type(tmp_path, kind):
    records = [record(step, WALL + step, tensor_value("loss", np.array(step % 2, kind))) for step in range(150)]
    event_file(tmp_path, *records)
    assert agreed(tmp_path).points == 150


def test_metadata_only_in_the_first_event_and_shapes_of_one_element(tmp_path):
    bare = summary_pb2.Summary.Value(tag="loss", tensor=tensor_util.make_tensor_proto(np.float32([0.5])))
    event_file(tmp_path, record(0, WALL, tensor_value("loss", np.float32(1))), record(1, WALL + 1, bare))
    assert agreed(tmp_path).points == 2


def test_tensors_that_hold_their_number_in_a_list(tmp_path):
    nan = struct.unpack("<f", struct.pack("<I", 0x7FC00007))[0]
    tensors = [TensorProto(dtype=1, float_val=[nan]), TensorProto(dtype=1), TensorProto(dtype=4, int_val=[300]),
               TensorProto(dtype=14, half_val=[0x3F80]), TensorProto(dtype=23, uint64_val=[2**64 - 1]),
               TensorProto(dtype=1, float_val=[1.0, 2.0]), TensorProto(dtype=9, int64_val=[-5])]
    values = [summary_pb2.Summary.Value(tag=f"t{place}", tensor=one) for place, one in enumerate(tensors)]
    event_file(tmp_path, record(1, WALL, *values))
    assert agreed(tmp_path).points == 6


def test_a_type_that_changes_within_a_series(tmp_path):
    records = [record(step, WALL + step, tensor_value("loss", np.float64(step)) if step % 100 > 50 else simple("loss", step))
               for step in range(400)]
    event_file(tmp_path, *records)
    assert agreed(tmp_path).points == 400


def test_texts_images_sounds_and_hparams_of_tensorboardx(tmp_path):
    with SummaryWriter(str(tmp_path / "run")) as writer:
        writer.add_text("note", "the password=hunter2secret is here", 1)
        writer.add_text("long", "é" * 40_000, 2)
        writer.add_image("seen", np.zeros((3, 8, 8)), 3)
        writer.add_histogram("weights", np.arange(10.0), 5)
        writer.add_scalar("loss", 0.5, 6)
    heard = summary_pb2.Summary.Value(tag="heard", audio=summary_pb2.Summary.Audio(encoded_audio_string=b"RIFF"))
    event_file(tmp_path, record(7, WALL, heard))
    total = agreed(tmp_path)
    assert (total.texts, total.samples) == (2, 2)
    assert "hunter2" not in TextSummary.objects.get(tag__startswith="note").text


def test_hparams_are_compared_redacted(tmp_path):
    start = plugin_data_pb2.SessionStartInfo()
    start.hparams["lr"].number_value, start.hparams["deep"].bool_value = 0.1, True
    start.hparams["api_key"].string_value = "sk-1234567890abcdef12345"
    said = plugin_data_pb2.HParamsPluginData(session_start_info=start)
    value = summary_pb2.Summary.Value(tag="_hparams_/session_start_info",
                                      metadata=hparams_metadata.create_summary_metadata(said))
    event_file(tmp_path, record(0, WALL, value), *scalars(3))
    agreed(tmp_path)
    Run.objects.update(param_sources={"hparams": {"lr": 0.2, "api_key": "sk-***REDACTED***", "deep": True}})
    assert [(one.tag, one.what) for one in reconciled().differences] == [("lr", "a hyperparameter")]


def test_text_that_is_no_utf8_and_tags_beyond_an_index(tmp_path):
    bad = record(1, WALL, simple("loss!", 1.0))[12:-4].replace(b"loss!", b"lo\xff\x00!")
    event_file(tmp_path, framed(bad), record(2, WALL, simple("long" * 1000, 1.0)), record(3, WALL, text_value("t", "a\0b", "c")))
    assert agreed(tmp_path).points == 2


def test_several_jobs_in_a_log(tmp_path):
    path = job_log(tmp_path / "job.jsonl", "first", 20)
    job_log(path, "second", 30)
    job_log(path, "first", 5)
    grow(path, b'{"broken\n\n[1]\n' + joblines.step(7, "first", gpu=[{"index": 3, "utilization": 5}, {"power_watts": 1e999}]))
    assert agreed(tmp_path).points > 55


def test_a_log_that_counts_on_and_back_again(tmp_path):
    lines = [joblines.step(step, ts="never") for step in (*range(100), *range(30), 200)]
    lines += [joblines.step(None, gpu={"utilization": 50}), joblines.progress(5), joblines.progress(6, "completed", "completed"),
              joblines.progress(1), joblines.line("training.start"), joblines.line("system.gpu", gpu={"temperature": 60})]
    (tmp_path / "log.jsonl").write_bytes(b"".join(lines))
    agreed(tmp_path)
    assert Segment.objects.count() > 2


def test_a_series_of_many_chunks_that_grew_while_it_was_synced(tmp_path):
    path = event_file(tmp_path, *scalars(1000, tags=1))
    agreed(tmp_path)
    for start in range(1000, 12_000, 2200):
        grow(path, b"".join(scalars(2200, tags=1, start=start)))
        agreed(tmp_path)
    assert SeriesChunk.objects.count() > 2


@pytest.mark.parametrize("seed", range(25))
def test_files_with_bytes_changed_at_random(tmp_path, seed):
    rng = random.Random(seed)
    parts = [*scalars(40), *scalars(15, start=rng.randrange(40)), record(9, WALL, text_value("t", "said", "so"))]
    rng.shuffle(parts)
    data = bytearray(b"".join(parts))
    for _ in range(rng.randrange(1, 12)):
        at = rng.randrange(len(data))
        match rng.randrange(4):
            case 0: data[at] ^= 1 << rng.randrange(8)
            case 1: del data[at : at + rng.randrange(1, 50)]
            case 2: data[at:at] = rng.randbytes(rng.randrange(1, 50))
            case 3: data[at : at + 30] = bytes(len(data[at : at + 30]))
    event_file(tmp_path, bytes(data[: rng.randrange(1000, len(data))]))
    agreed(tmp_path)


# What was changed since is found


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


def test_it_shares_no_reader_with_the_sync():
    allowed = {"runs.readers.confined", "runs.readers"}
    for path in (Path(__file__).parents[2] / "runs" / "reconcile").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("runs.readers"):
                assert node.module in allowed and {alias.name for alias in node.names} <= {"confined"}, path
