"""P4: what writers wrote, bit for bit, in the order of the file."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from tensorboard.compat.proto import event_pb2, summary_pb2, types_pb2
from tensorboard.plugins.hparams import summary_v2 as hparams_summary
from tensorboard.plugins.text import metadata as text_metadata
from tensorboard.summary import Writer
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util import tensor_util
from tensorboardX import SummaryWriter

from tests.runs.readers.event_bytes import column, event, framed, in_pieces, record, scalars, shape, simple, whole
from tests.runs.readers.reference import reference


def the_file(folder: Path) -> bytes:
    (path,) = folder.glob("*tfevents*")
    return path.read_bytes()


def tensor_event(step: int, tag: str, tensor: object, plugin: str = "") -> bytes:
    made = event(step, 1e9 + step, simple(tag, 0))
    made.summary.value[0].tensor.CopyFrom(tensor)
    if plugin:
        made.summary.value[0].metadata.plugin_data.plugin_name = plugin
    return framed(made.SerializeToString())


def same_as_protobuf(data: bytes) -> None:
    wanted = reference(data)
    found = whole(data)
    assert {key: found[key] for key in wanted} == wanted
    for seed in range(3):
        assert in_pieces(data, seed) == found


def test_tensorboardx_scalars_equal_protobufs(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(700):
            writer.add_scalar("loss", 1 / (step + 1), step)
            writer.add_scalar("acc", step, step)
            if step % 50 == 0:
                writer.add_scalar("val/loss", -step, step)
    data = the_file(tmp_path)
    same_as_protobuf(data)
    assert shape(whole(data)) == {("loss", 0): 700, ("acc", 0): 700, ("val/loss", 0): 14}


def test_torch_shaped_scalars_equal_protobufs(tmp_path: Path) -> None:
    writer = EventFileWriter(str(tmp_path))
    for step in range(0, 40_000, 13):
        for tag in ("a", "b"):
            writer.add_event(event(step, 1e9 + step / 7, simple(tag, step * 0.1)))
    writer.close()
    same_as_protobuf(the_file(tmp_path))


def test_summary_writers_tensors_equal_protobufs(tmp_path: Path) -> None:
    writer = Writer(str(tmp_path))
    for step in range(300):
        writer.add_scalar("loss", np.float32(step) / 3, step)
        writer.add_scalar("lr", 0.1, step)
    writer.close()
    data = the_file(tmp_path)
    same_as_protobuf(data)
    assert shape(whole(data)) == {("loss", 0): 300, ("lr", 0): 300}


def test_events_of_twenty_values_equal_protobufs() -> None:
    data = b"".join(
        record(step, 1e9 + step, *(simple(f"t{n}", step + n / 7) for n in range(20)))
        for step in range(400))
    same_as_protobuf(data)


@pytest.mark.parametrize("dtype", [
    "f4", "f8", "f2", "i4", "u1", "i2", "i1", "i8", "u2", "u4", "u8", "bool"])
@pytest.mark.parametrize("form", ["list", "content"])
def test_every_number_type_keeps_its_bits(dtype: str, form: str) -> None:
    value = np.array(-3.5).astype(dtype) if dtype[0] in "if" else np.array(200).astype(dtype)
    proto = tensor_util.make_tensor_proto(value)
    if form == "content":
        for name in ("float_val", "double_val", "int_val", "int64_val", "half_val", "bool_val",
                     "uint32_val", "uint64_val"):
            proto.ClearField(name)
        proto.tensor_content = value.tobytes()
    data = b"".join(tensor_event(step, "x", proto) for step in range(70))
    found = whole(data)
    assert {one.tobytes() for _, one in column(found, "x")} == {value.tobytes()}
    assert in_pieces(data, 1) == found


def test_bfloat16_is_widened_bit_by_bit() -> None:
    proto = summary_pb2.Summary.Value().tensor
    proto.dtype = types_pb2.DT_BFLOAT16
    proto.half_val.append(0x7FC1)
    ((_, value),) = column(whole(tensor_event(1, "x", proto)), "x")
    assert value.tobytes() == b"\x00\x00\xc1\x7f"


def test_the_payload_of_a_nan_and_denormals_survive() -> None:
    bits = [b"\x01\x00\x80\x7f", b"\x12\x34\xc0\xff", b"\x01\x00\x00\x00", b"\x00\x00\x80\xff"]
    data = b""
    for step in range(200):
        payload = event(step, 1.0, simple("x", 1.5)).SerializeToString()
        data += framed(payload.replace(struct.pack("<f", 1.5), bits[step % 4]))
    for found in (whole(data), in_pieces(data, 5)):
        assert [raw for _, _, raw, _ in found["points"]["x", 0]] == bits * 50


def test_negative_huge_and_absent_steps_are_kept() -> None:
    steps = [-(2**63), -5, 0, 127, 128, 16383, 16384, 2**31, 2**40, 2**56, 2**62, 2**63 - 1]
    data = b"".join(record(step, 1.0, simple("x", 0)) for step in steps for _ in range(50))
    wanted = [step for step in steps for _ in range(50)]
    assert [step for step, _ in column(whole(data), "x")] == wanted
    assert in_pieces(data, 2) == whole(data)


def test_duplicate_steps_stay_in_file_order() -> None:
    data = b"".join(record(7, 1.0, simple("x", n)) for n in range(100))
    assert column(whole(data), "x") == [(7, n) for n in range(100)]


def test_a_nan_wall_time_is_kept_and_tells_no_time() -> None:
    data = record(1, float("nan"), simple("x", 0)) + record(2, 5.0, simple("x", 0))
    found = whole(data)
    assert len(found["points"]["x", 0]) == 2 and found["walls"] == ([5.0], [5.0])


def test_a_tag_whose_type_changes_keeps_both() -> None:
    double = tensor_util.make_tensor_proto(np.float64(2))
    data = (b"".join(scalars(100, 1)) + tensor_event(100, "tag0", double)
            + b"".join(scalars(100, 1, 101)))
    types = [dtype for *_, dtype in whole(data)["points"]["tag0", 0]]
    assert types == ["<f4"] * 100 + ["<f8"] + ["<f4"] * 100
    assert in_pieces(data, 8) == whole(data)


def test_metadata_of_another_file_tells_images_from_scalars() -> None:
    data = tensor_event(1, "x", tensor_util.make_tensor_proto(np.float32(1)))
    assert column(whole(data), "x") == [(1, 1.0)]
    (blob,) = whole(data, plugins={"x": "pr_curves"})["blobs"]
    assert (blob.kind, blob.plugin) == ("tensor", "pr_curves")


def test_a_plugin_named_late_counts_from_there_on_in_any_pieces() -> None:
    proto = tensor_util.make_tensor_proto(np.float32(1))
    data = b"".join(
        [tensor_event(step, "x", proto) for step in range(200)]
        + [tensor_event(200, "x", proto, "mesh")]
        + [tensor_event(step, "x", proto) for step in range(201, 400)])
    found = whole(data)
    assert len(found["points"]["x", 0]) == 200 and len(found["blobs"]) == 200
    assert all(in_pieces(data, seed) == found for seed in range(4))


def test_text_stays_with_us_and_long_text_is_cut() -> None:
    proto = tensor_util.make_tensor_proto(np.array([b"# hello\0", b"\xff"], object))
    long = tensor_util.make_tensor_proto(np.array(("ü" * 70_000).encode(), object))
    text = text_metadata.PLUGIN_NAME
    short, cut = whole(tensor_event(3, "t", proto, text) + tensor_event(4, "t", long))["texts"]
    assert (short.text, short.step, short.truncated) == ("# hello\\x00\n\n\\xff", 3, False)
    assert cut.truncated and set(cut.text) == {"ü"} and len(cut.text.encode()) == 65536


def test_a_table_of_text_is_lines() -> None:
    table = tensor_util.make_tensor_proto(np.array([[b"a", b"b"], [b"c", b"d"]], object))
    assert whole(tensor_event(3, "t", table, "text"))["texts"][0].text == "a | b\nc | d"


def test_hparams_come_with_their_types(tmp_path: Path) -> None:
    made = hparams_summary.hparams_pb(
        {"lr": 0.1, "layers": 3, "opt": "adam", "amp": True}, "g1", 12.5)
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_hparams({"x": 1}, {"m": 2.0}, name="hp")
    (said,) = whole(framed(event(0, 1.0, *made.value).SerializeToString()))["hparams"]
    assert said.values == {"lr": 0.1, "layers": 3.0, "opt": "adam", "amp": True}
    assert (said.kind, said.wall, said.group) == ("session start", 12.5, "g1")
    kinds = [(one.kind, one.status) for one in whole(the_file(tmp_path / "hp"))["hparams"]]
    assert kinds == [("experiment", ""), ("session start", ""), ("session end", "success")]


def test_pictures_histograms_and_graphs_stay_on_disk(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_histogram("h", np.arange(10), 1)
        writer.add_image("i", np.zeros((3, 4, 4), np.uint8), 2)
    data = the_file(tmp_path) + framed(event_pb2.Event(graph_def=b"g").SerializeToString())
    found = whole(data)
    assert [(one.kind, one.tag) for one in found["blobs"]] == [
        ("histogram", "h"), ("image", "i"), ("graph", "")]
    blob = found["blobs"][1]
    raw = data[blob.offset : blob.offset + blob.length]
    assert event_pb2.Event.FromString(raw[12:-4]).summary.value[0].image.width == 4


def test_a_tag_no_database_takes_is_made_fit() -> None:
    payload = event(1, 1.0, simple("xxxx", 1)).SerializeToString()
    data = framed(payload.replace(b"xxxx", b"\xffa\x00b")) + record(1, 1.0, simple("y" * 5000, 1))
    first, second = (tag for tag, _ in whole(data)["points"])
    assert first == "\\xffa\\x00b" and len(second) == 1024 and second.startswith("yyyy")
