"""Events by TensorBoard's protobuf classes, and what a summary's value says.

Text leaves here as the registry keeps it: bytes that are no UTF-8 as ``\\xNN``, NUL as the
four characters ``\\x00``, a tag of more than 1,024 bytes cut, with its SHA-256 behind.
"""

from __future__ import annotations

import hashlib
import math
from functools import cache, lru_cache
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.util import tensor_util

TAG_BYTES, LONGEST_TAG = 1024, 64 * 1024
TEXT_BYTES = 64 * 1024
CONTENT_BYTES = 1024 * 1024
MOST_VALUES = 100_000
STRING, BFLOAT16 = 7, 14
#: DataType -> numpy dtype and the field of its list.
NUMBERS = {
    1: ("<f4", "float_val"), 2: ("<f8", "double_val"), 3: ("<i4", "int_val"), 4: ("|u1", "int_val"),
    5: ("<i2", "int_val"), 6: ("|i1", "int_val"), 9: ("<i8", "int64_val"), 10: ("|u1", "bool_val"),
    14: ("<u2", "half_val"), 17: ("<u2", "int_val"), 19: ("<f2", "half_val"), 22: ("<u4", "uint32_val"),
    23: ("<u8", "uint64_val"),
}  # fmt: skip
#: A struct in a struct in ... : what lies deeper is dropped.
DEEPEST = 8

Scalar = tuple[str, bytes]


def event(payload: bytes) -> Any:
    """The payload as an Event, None where it is none.

    Protobuf refuses strings that are no UTF-8, the registry keeps them: those are read by the
    same classes with ``bytes`` for ``string``.
    """
    try:
        found: Any = Event.FromString(payload)
    except DecodeError:
        try:
            found = _with_bytes(Event).FromString(payload)
        except DecodeError:
            return None
    values = found.summary.value
    # a character takes at most four bytes
    long = (value.tag for value in values if len(value.tag) * 4 > LONGEST_TAG)
    if len(values) > MOST_VALUES or any(len(_raw(tag)) > LONGEST_TAG for tag in long):
        return None
    return found


def text(found: str | bytes) -> str:
    """A string as the registry keeps it."""
    return _raw(found).decode("utf-8", "backslashreplace").replace("\0", "\\x00")


@lru_cache(maxsize=10_000)
def tag(found: str | bytes) -> str:
    """A tag as the registry keeps it."""
    kept = text(found)
    encoded = kept.encode()
    if len(encoded) <= TAG_BYTES:
        return kept
    return f"{encoded[: TAG_BYTES - 65].decode('utf-8', 'ignore')}~{hashlib.sha256(_raw(found)).hexdigest()}"


def simple(value: Any) -> Scalar:
    """The bits of a simple_value."""
    number = value.simple_value
    if math.isnan(number):
        # as a Python float a NaN may lose bits
        bare = Summary.Value.FromString(value.SerializeToString())
        for other in ("tag", "metadata", "node_name"):
            bare.ClearField(other)
        return "<f4", bare.SerializeToString()[-4:]
    return "<f4", np.float32(number).tobytes()


def scalar(tensor: Any, *, one_element: bool) -> Scalar | None:
    """The number in a tensor of rank 0, or of one element; None where it holds something else."""
    sizes = [one.size for one in tensor.tensor_shape.dim]
    if tensor.dtype not in NUMBERS or tensor.tensor_shape.unknown_rank:
        return None
    if sizes and not (one_element and all(size == 1 for size in sizes)):
        return None
    kind, field = NUMBERS[tensor.dtype]
    dtype = np.dtype(kind)
    if tensor.tensor_content:
        raw = bytes(tensor.tensor_content)
        return _widened(tensor.dtype, kind, raw) if len(raw) == dtype.itemsize else None
    listed = getattr(tensor, field)
    if len(listed) > 1:
        return None
    if not listed:
        return _widened(tensor.dtype, kind, bytes(dtype.itemsize))
    return _widened(tensor.dtype, kind, _only(tensor, listed[0], field, dtype))


def _only(tensor: Any, number: Any, field: str, dtype: np.dtype) -> bytes:
    """The bits of a list's only number."""
    if field == "half_val":
        return np.uint16(number & 0xFFFF).tobytes()
    if isinstance(number, float) and math.isnan(number):
        return _alone(tensor, field)[-dtype.itemsize :]
    if dtype.kind in "iu":
        # protobuf's int32 holds what the type cannot: its low bits count
        return (int(number) & (1 << 8 * dtype.itemsize) - 1).to_bytes(dtype.itemsize, "little")
    return bytes(tensor_util.make_ndarray(tensor).astype(dtype, copy=False).tobytes())


def _alone(tensor: Any, field: str) -> bytes:
    """The tensor's bytes with nothing but one field."""
    bare = TensorProto.FromString(tensor.SerializeToString())
    for one, _ in bare.ListFields():
        if one.name != field:
            bare.ClearField(one.name)
    return bytes(bare.SerializeToString())


def _widened(dtype: int, kind: str, raw: bytes) -> Scalar:
    return ("<f4", b"\0\0" + raw) if dtype == BFLOAT16 else (kind, raw)


def strings(tensor: Any) -> list[str] | None:
    """A text tensor's text, None where it holds no strings.

    Beyond 64 KB it is cut at a character: then all five places where that may be.
    """
    if tensor.dtype != STRING or tensor.tensor_shape.unknown_rank:
        return None
    sizes = [one.size for one in tensor.tensor_shape.dim]
    rows = [bytes(one) for one in tensor.string_val]
    if len(sizes) == 2 and sizes[1] > 0:
        width = sizes[1]
        raw = b"\n".join(b" | ".join(rows[at : at + width]) for at in range(0, len(rows), width))
    else:
        raw = (b"\n" if len(sizes) == 2 and sizes[1] < 0 else b"\n\n").join(rows)
    if len(raw) <= TEXT_BYTES:
        return [text(raw)]
    return [text(raw[: TEXT_BYTES - less]) for less in range(5)]


def hparams(content: bytes) -> dict[str, Any] | None:
    """The hyperparameters of a session start; None where the content is not the plugin's."""
    try:
        found = HParamsPluginData.FromString(content[:CONTENT_BYTES])
    except DecodeError:
        return None
    return {text(key): _plain(value, 0) for key, value in found.session_start_info.hparams.items()}


def _plain(value: Any, depth: int) -> Any:
    kind = value.WhichOneof("kind")
    if kind in ("number_value", "bool_value"):
        return getattr(value, kind)
    if kind == "string_value":
        return text(value.string_value)
    if kind == "struct_value" and depth < DEEPEST:
        return {text(key): _plain(one, depth + 1) for key, one in value.struct_value.fields.items()}
    if kind == "list_value" and depth < DEEPEST:
        return [_plain(one, depth + 1) for one in value.list_value.values]
    return None


def _raw(found: str | bytes) -> bytes:
    return found.encode() if isinstance(found, str) else found


@cache
def _with_bytes(cls: type[Message]) -> Any:
    """The same message class with ``bytes`` wherever it has ``string``."""
    pool, added = descriptor_pool.DescriptorPool(), set()

    def add(file: Any) -> None:
        if file.name in added:
            return
        added.add(file.name)
        for dependency in file.dependencies:
            add(dependency)
        copy = descriptor_pb2.FileDescriptorProto()
        file.CopyToProto(copy)
        for message in copy.message_type:
            _strings_as_bytes(message)
        pool.Add(copy)

    add(cls.DESCRIPTOR.file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(cls.DESCRIPTOR.full_name))


def _strings_as_bytes(message: Any) -> None:
    for field in message.field:
        if field.type == field.TYPE_STRING:
            field.type = field.TYPE_BYTES
            field.ClearField("default_value")
    for nested in message.nested_type:
        # a map's key may not be bytes
        if not nested.options.map_entry:
            _strings_as_bytes(nested)
