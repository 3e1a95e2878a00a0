"""Content that strangers wrote to break us: it stays one file's trouble, and every good record counts."""

from __future__ import annotations

import json
import math
import os
import random
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from tensorboardX import SummaryWriter

from runs.models import Event, Job, LogFile, Run, Series, Tag, TextSummary
from runs.points import SeriesWriter
from tests.runs.readers.event_bytes import framed, head, masked, record, simple
from tests.runs.trees import WALL, grow, job_log, registry, same, source_of, synced, write

pytestmark = pytest.mark.django_db


def event_file(root: Path, *records: bytes, run: str = "hostile") -> Path:
    path = root / run / "events.out.tfevents.1700000000.host.1.0"
    path.parent.mkdir(parents=True, exist_ok=True)
    grow(path, b"".join(records))
    return path


def log_lines(path: Path, *lines: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    grow(path, b"".join(line + b"\n" for line in lines))
    return path


def line(**fields: object) -> bytes:
    made = {"ts": WALL, "level": "INFO", "service": "s", "job_id": "j", "msg": "m", "event": "training.step"}
    return json.dumps({**made, **fields}).encode()


def beside(root: Path) -> None:
    """A good run that must come through."""
    write(root / "zz-good", ("loss",))


def good_came_through() -> bool:
    return Run.objects.get(name="zz-good").point_count == 20


def test_more_tags_than_the_limit_are_an_error_of_that_run_only(tmp_path, settings):
    settings.TRAINMON_MAX_TAGS = 500
    event_file(tmp_path, *(record(1, WALL, simple(f"tag{n}", n)) for n in range(600)))
    beside(tmp_path)
    done = synced(tmp_path)
    assert "more than 500 tags" in done.problems[0]
    assert good_came_through()
    assert "more than 500 tags" in LogFile.objects.get(run__name="hostile").error


@pytest.mark.soak
def test_a_million_tags_are_an_error_of_that_run_only(tmp_path):
    event_file(tmp_path, *(record(1, WALL, *(simple(f"tag{n}/{k}", 1) for k in range(1000))) for n in range(1000)))
    beside(tmp_path)
    assert "tags" in synced(tmp_path).problems[0]
    assert good_came_through()


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 2**63 - 1, 2**31, 2**40])
def test_an_impossible_length_is_named_and_does_not_stop_the_others(tmp_path, length):
    event_file(tmp_path, record(1, WALL, simple("loss", 1)), head(length), record(2, WALL, simple("loss", 2)))
    beside(tmp_path)
    done = synced(tmp_path)
    assert done.damaged == 1
    assert (Run.objects.get(name="hostile").point_count, good_came_through()) == (2, True)


@pytest.mark.parametrize("wall", [math.nan, math.inf, -math.inf, 1e300, -1e300, -5.0, 0.0, 5e-324, 253402300800.0])
def test_any_wall_time_is_kept_and_shown_where_a_calendar_has_it(tmp_path, wall):
    event_file(tmp_path, record(1, wall, simple("loss", 1)), record(2, WALL, simple("loss", 2)))
    done = synced(tmp_path)
    run = Run.objects.get()
    assert (done.problems, run.point_count, run.last_event.timestamp()) == ([], 2, WALL)
    segment = run.segments.get()
    assert segment.last_wall == WALL and math.isfinite(segment.first_wall)


def test_a_file_of_impossible_wall_times_alone_has_no_times(tmp_path):
    event_file(tmp_path, *(record(step, 1e300, simple("loss", 1)) for step in range(3)))
    assert synced(tmp_path).problems == []
    run = Run.objects.get()
    assert (run.point_count, run.started, run.last_event) == (3, None, None)


def test_the_ends_of_int64_are_steps_like_others(tmp_path):
    steps = [-(2**63), -1, 0, 1, 2**63 - 1]
    event_file(tmp_path, *(record(step, WALL + n, simple("loss", n)) for n, step in enumerate(steps)))
    assert synced(tmp_path).problems == []
    series = Series.objects.get()
    assert (series.count, series.first_step, series.last_step, Run.objects.get().step) == (
        5, -(2**63), 2**63 - 1, 2**63 - 1)


def test_values_that_are_no_numbers_are_counted_and_not_compared(tmp_path):
    values = [math.nan, math.inf, -math.inf, 5e-324, -0.0, 3.5]
    event_file(tmp_path, *(record(n, WALL + n, simple("loss", value)) for n, value in enumerate(values)))
    assert synced(tmp_path).problems == []
    series = Series.objects.get()
    assert (series.count, series.nonfinite, series.minimum, series.maximum, series.last) == (6, 3, 0.0, 3.5, 3.5)


@pytest.mark.parametrize("tag", ["x" * 4000, random.Random(1).randbytes(3000).hex(), "é" * 3000, "a\0b", "\ud7ff", "",
                                 " ", "a\nb", "/" * 50],
                         ids=lambda tag: ascii(tag[:8]))
def test_any_tag_is_a_series_of_its_own(tmp_path, tag):
    event_file(tmp_path, record(1, WALL, simple(tag, 1)), record(1, WALL, simple(tag + "2", 2)))
    assert synced(tmp_path).problems == []
    assert (Series.objects.count(), Run.objects.get().point_count) == (2, 2)
    assert max(len(name.encode()) for name in Tag.objects.values_list("name", flat=True)) <= 2704


def test_a_long_tag_below_a_long_prefix_is_stored(tmp_path):
    write(tmp_path / "run", ("loss",))
    part, noise = tmp_path / "run", random.Random(2)
    tag = "/".join(noise.randbytes(60).hex() for _ in range(30))
    folder = part / "/".join(noise.randbytes(100).hex() for _ in range(9)) / "validation"
    write(folder, (tag,))
    write(folder.parent / "train", (tag,))
    assert synced(tmp_path).problems == []
    assert Series.objects.count() == 3


def test_texts_and_parameters_hold_what_postgresql_refuses(tmp_path):
    with SummaryWriter(str(tmp_path / "run")) as writer:
        writer.add_text("note", "a\0b \x1b[2J " + "x" * 200_000, 1)
        writer.add_hparams({f"name{n}": "v" * 100 for n in range(2000)} | {"nul\0key": "a\0b", "nan": math.nan}, {"m": 1.0})
    done = synced(tmp_path)
    assert done.problems == []
    assert "\0" not in TextSummary.objects.get(tag__startswith="note").text
    assert "\0" not in json.dumps(Run.objects.get().params)


def session_end(wall: float) -> bytes:
    """The end of an hparams session at this time."""
    from tensorboard.compat.proto import summary_pb2
    from tensorboard.plugins.hparams import plugin_data_pb2

    data = plugin_data_pb2.HParamsPluginData(session_end_info=plugin_data_pb2.SessionEndInfo(
        status="STATUS_SUCCESS", end_time_secs=wall))
    metadata = summary_pb2.SummaryMetadata(plugin_data=summary_pb2.SummaryMetadata.PluginData(
        plugin_name="hparams", content=data.SerializeToString()))
    return record(0, WALL, summary_pb2.Summary.Value(tag="_hparams_/session_end_info", metadata=metadata))


@pytest.mark.parametrize("wall", [math.nan, math.inf, -1e300, 1e300, WALL])
def test_an_hparams_session_may_end_at_any_time(tmp_path, wall):
    event_file(tmp_path, record(1, WALL, simple("loss", 1)), session_end(wall))
    assert synced(tmp_path).problems == []
    assert Run.objects.get().point_count == 1


HOSTILE_LINES = [
    b'{"ts": 1e999, "level": "INFO", "service": "s", "job_id": "j", "msg": "m", "event": "training.step", '
    b'"fields": {"step": 1, "loss": 1e999}}',
    line(ts="0001-01-01T00:00:00", fields={"step": 2, "loss": 1}),
    line(ts="9999-12-31T23:59:59+00:00", fields={"step": 3, "loss": 1}),
    line(ts="9999-12-31T23:59:59-12:00", fields={"step": 3, "loss": 1}),
    line(ts=-1e300, fields={"step": 4, "loss": float("nan")}),
    line(ts={"a": 1}, fields={"step": 2**70, "loss": 10**400}),
    line(msg="\ud800 \0", event="job.error", level="ERROR", fields={"error": "\ud800\0" * 100_000, "error_type": "\0"}),
    line(event="training.start", fields={"config": {"\ud800": "\0", "big": 10**400, "nan": float("inf"), "n": 2**200}}),
    b'{"ts": 1, "level": "INFO", "service": "s", "job_id": "j", "msg": "m", "event": "training.start", "fields": {"config": '
    + b'{"a":' * 200 + b"1" + b"}" * 200 + b"}}",
    b'{"ts": 1, "msg": "' + b"[" * 100_000,
    b"[" * 200_000,
    b"\xff\xfe\x00\x00",
    b"null", b"7", b'"text"', b"{}", b"",
    line(event="job.cancelled", fields={"eta_seconds": 1e308, "epoch": 1e308, "total_steps": 2**63}),
    line(event="\0" * 500, level="X" * 500, job_id="j", fields={"config": []}),
    line(fields={"step": 5, "x" * 5000: 1.0, "\0": 2.0, "\ud800": 3.0}),
    line(event="job.progress", fields={"step": -(2**63), "loss": 1.0, "total": -1}),
]


@pytest.mark.parametrize("number", range(len(HOSTILE_LINES)))
def test_a_hostile_line_leaves_the_rest_of_its_log_readable(tmp_path, number):
    good = line(fields={"step": 1, "good": 0.5})
    log_lines(tmp_path / "job.jsonl", good, good, good, HOSTILE_LINES[number], good)
    beside(tmp_path)
    done = synced(tmp_path)
    assert not any("cannot be stored" in problem for problem in done.problems), done.problems
    assert good_came_through()
    assert Series.objects.get(tag__name="good").count == 4
    synced(tmp_path)


def test_all_hostile_lines_at_once_cut_anywhere(tmp_path):
    whole = log_lines(tmp_path / "one" / "job.jsonl", line(fields={"step": 1, "good": 0.5}), *HOSTILE_LINES)
    data = whole.read_bytes()
    cut = tmp_path / "two" / "job.jsonl"
    cut.parent.mkdir()
    for edge in [*range(1000, len(data), len(data) // 7), len(data)]:
        cut.write_bytes(data[:edge])
        synced(tmp_path / "two")
    times = whole.stat()
    os.utime(cut, ns=(times.st_atime_ns, times.st_mtime_ns))
    synced(tmp_path / "one")
    one, two = registry(source_of(tmp_path / "one")), registry(source_of(tmp_path / "two"))
    # how far a run without a believable clock has come follows the commits
    assert same({name: one[name] for name in ("files", "points", "events", "summaries")},
                {name: two[name] for name in ("files", "points", "events", "summaries")})


def test_jobs_whose_names_make_one_series_do_not_break_the_sync(tmp_path):
    lines = []
    for step in range(300):
        lines += [line(job_id="first", fields={"step": step, "other/loss": 1.0}),
                  line(job_id="", fields={"step": step, "loss": 2.0}),
                  line(job_id="other", fields={"step": step, "loss": 3.0})]
        if step % 70 == 69:
            lines += [line(job_id=job, event="training.start") for job in ("other", "first", "")]
    log_lines(tmp_path / "job.jsonl", *lines)
    assert synced(tmp_path).problems == []
    log_lines(tmp_path / "job.jsonl", *lines)
    assert synced(tmp_path).problems == []
    assert Run.objects.get().point_count == 1800


def test_space_that_was_only_reserved_is_not_read_byte_by_byte(tmp_path):
    path = event_file(tmp_path, record(1, WALL, simple("loss", 1)))
    os.truncate(path, 1 << 40)
    log = job_log(tmp_path / "log" / "job.jsonl")
    os.truncate(log, 1 << 40)
    broken = event_file(tmp_path, record(1, WALL, simple("loss", 1)), b"\x07" * 100, run="broken")
    os.truncate(broken, 1 << 40)
    beside(tmp_path)
    began = time.monotonic()
    synced(tmp_path)
    assert time.monotonic() - began < 60, "holes are read"
    assert good_came_through()
    assert Run.objects.get(name="hostile").point_count == 1


def test_a_file_that_is_no_event_file_is_named(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "events.out.tfevents.notes.txt").write_text("not a record\n" * 100)
    done = synced(tmp_path)
    assert done.damaged == 1 and "no record from byte 0" in done.problems[0]


def test_what_nobody_foresaw_stays_one_files_trouble(tmp_path, monkeypatch):
    event_file(tmp_path, record(1, WALL, simple("loss", 1)))
    beside(tmp_path)
    store = SeriesWriter.append

    def broken(self, *args):
        if Run.objects.get(pk=self.run_id).name == "hostile":
            raise ZeroDivisionError("a bug of ours")
        return store(self, *args)

    monkeypatch.setattr(SeriesWriter, "append", broken)
    done = synced(tmp_path)
    assert "ZeroDivisionError: a bug of ours" in done.problems[0]
    assert good_came_through()
    monkeypatch.undo()
    assert (synced(tmp_path).problems, Run.objects.get(name="hostile").point_count) == ([], 1)


def test_a_record_of_100_mb_is_passed_without_holding_up_the_rest(tmp_path):
    event_file(tmp_path, record(1, WALL, simple("loss", 1)), framed(b"\x0a" + bytes(100 << 20)),
               record(2, WALL, simple("loss", 2)))
    synced(tmp_path)
    assert Run.objects.get().point_count == 2


def test_a_line_of_many_megabytes_is_damage_and_the_next_is_read(tmp_path):
    log_lines(tmp_path / "job.jsonl", line(fields={"step": 1, "good": 0.5}), line(msg="x" * (20 << 20)),
              line(fields={"step": 2, "good": 0.5}))
    done = synced(tmp_path)
    assert (done.damaged, Series.objects.get().count) == (1, 2)


def test_a_payload_with_a_right_checksum_that_is_no_event_is_counted(tmp_path):
    payload = b"\xff" * 50
    event_file(tmp_path, struct.pack("<Q", 50) + masked(struct.pack("<Q", 50)) + payload + masked(payload),
               record(1, WALL, simple("loss", 1)))
    synced(tmp_path)
    assert (LogFile.objects.get().bad_records, Run.objects.get().point_count) == (1, 1)


def test_a_thousand_errors_of_a_job_are_a_thousand_events_once(tmp_path):
    lines = [line(event="job.error", level="ERROR", msg=f"no {n}") for n in range(1000)]
    log_lines(tmp_path / "job.jsonl", *lines)
    synced(tmp_path)
    synced(tmp_path, full=True)
    assert Event.objects.filter(generation=0).count() == 1000
    assert Job.objects.count() == 1
    assert np.isfinite(len(lines))
