"""Reconcile agrees with the sync on whatever real writers wrote."""

from __future__ import annotations

import ast
import random
import struct
from pathlib import Path

import numpy as np
import pytest
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.util import tensor_util
from tensorboardX import SummaryWriter

from runs.models import LogFile, Run, Segment, Series, SeriesChunk, TextSummary
from tests.runs.readers import joblines
from tests.runs.readers.event_bytes import framed, record, scalars, simple
from tests.runs.reconciling import agreed, event_file, reconciled, tensor_value, text_value
from tests.runs.trees import WALL, grow, job_log, synced, write

pytestmark = pytest.mark.django_db



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


def test_metadata_only_in_the_first_file_of_a_run(tmp_path):
    bare = summary_pb2.Summary.Value(tag="loss", tensor=tensor_util.make_tensor_proto(np.float32([0.5])))
    event_file(tmp_path, record(0, WALL, tensor_value("loss", np.float32(1))))
    event_file(tmp_path, record(1, WALL + 1, bare), name="run/events.out.tfevents.1700000100.host.1.0")
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
        end = at + rng.randrange(1, 50)
        data[at:end] = rng.choice([b"", rng.randbytes(1), rng.randbytes(60), bytes(len(data[at:end]))])
    event_file(tmp_path, bytes(data[: rng.randrange(1000, len(data))]))
    agreed(tmp_path)


def test_it_shares_no_reader_with_the_sync():
    shared = {("runs.readers", "confined"), ("runs.readers.plain", "plain"), ("runs.readers.plain", "plain_json")}
    for path in (Path(__file__).parents[2] / "runs" / "reconcile").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("runs.readers"):
                assert {(node.module, alias.name) for alias in node.names} <= shared, path
