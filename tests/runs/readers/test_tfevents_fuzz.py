"""P2, P3, P4: whatever is done to a file, read equals the slow reference, in any pieces."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest
from tensorboard.compat.proto import event_pb2
from tensorboard.util import tensor_util

from tests.runs.readers.event_bytes import event, framed, in_pieces, masked, record, scalars, simple, whole
from tests.runs.readers.reference import reference

#: The same in each run; `make soak` tries many more.
SEEDS = [range(20), pytest.param(range(20, 1000), marks=pytest.mark.soak)]


def same(data: bytes, seed: int) -> None:
    wanted = reference(data)
    found = whole(data)
    pieces = in_pieces(data, seed)
    for damage in (*found["damages"], *pieces["damages"]):
        object.__setattr__(damage, "detail", "")
    assert {key: found[key] for key in wanted} == wanted
    assert pieces == found


def tensor_record(step: int, tag: str, value: np.generic, plugin: str = "") -> bytes:
    made = event(step, 5.0, simple(tag, 0))
    made.summary.value[0].tensor.CopyFrom(tensor_util.make_tensor_proto(value))
    if plugin:
        made.summary.value[0].metadata.plugin_data.plugin_name = plugin
    return framed(made.SerializeToString())


def mixed(rng: random.Random) -> list[bytes]:
    """A file of stretches: loops, jitter, restarts, sessions, tensors, several values."""
    made, step = [framed(b"\x1a\rbrain.Event:2")], rng.choice([0, 120, 16380, 2**21 - 5, -50, 2**35])
    for _ in range(rng.randint(1, 6)):
        tags = rng.sample(["a", "bb", "c/c", "déjà", "x" * 40], rng.randint(1, 4))
        kind = rng.choice(["loop", "loop", "jitter", "random", "many", "tensor", "session", "back"])
        if kind == "session":
            status = rng.choice([1, 1, 2])
            made.append(framed(event_pb2.Event(session_log={"status": status}).SerializeToString()))
        elif kind == "back":
            step -= rng.choice([1, 30, 100])
        for _ in range(rng.randint(1, 150)):
            step += rng.choice([0, 1, 1, 1, 2])
            at = step - (rng.randint(0, 70) if kind == "jitter" and rng.random() < 0.3 else 0)
            wall = rng.choice([1e9 + step, 1e9 + step, float("nan")])
            values = [simple(tag, rng.choice([rng.gauss(0, 1), float("inf"), 0.0])) for tag in tags]
            if kind == "many":
                made.append(record(at, wall, *values))
            elif kind == "tensor":
                dtype = rng.choice([np.float32, np.float64, np.float16, np.int32, np.int64])
                made.append(tensor_record(at, tags[0] + dtype.__name__, dtype(rng.randint(-9, 9)),
                                          rng.choice(["", "scalars"])))
            else:
                some = rng.sample(values, len(values)) if kind == "random" else values
                made += [record(at, wall, value) for value in some]
    return made


def mutated(rng: random.Random, records: list[bytes]) -> bytes:
    """One to four accidents."""
    data = bytearray(b"".join(records))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data))
        kind = rng.randrange(7)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del data[at : at + rng.randint(1, 200)]
        elif kind == 2:
            data[at:at] = rng.randbytes(rng.randint(1, 200))
        elif kind == 3:
            data[at : at + 100] = bytes(len(data[at : at + 100]))
        elif kind == 4:
            del data[at + 1 :]
        elif kind == 5:
            data += bytes(rng.randint(1, 300))
        else:
            size = struct.pack("<Q", rng.choice([0, 5, 100, 2**31, 2**63, rng.randrange(5000)]))
            data[at:at] = size + masked(size)
    return bytes(data)


@pytest.mark.parametrize("seed", range(25))
def test_an_unharmed_file_reads_as_protobuf_reads_it(seed: int) -> None:
    same(b"".join(mixed(random.Random(seed))), seed)


@pytest.mark.parametrize("seeds", SEEDS, ids=["few", "many"])
def test_a_mutated_file_reads_as_the_reference_reads_it(seeds: range) -> None:
    for seed in seeds:
        rng = random.Random(1000 + seed)
        same(mutated(rng, mixed(rng)), seed)


@pytest.mark.parametrize("seeds", SEEDS, ids=["few", "many"])
def test_bytes_changed_under_valid_crcs_neither_crash_nor_differ_by_pieces(seeds: range) -> None:
    for seed in seeds:
        rng = random.Random(5000 + seed)
        records = mixed(rng)
        for _ in range(rng.randint(1, 40)):
            place = rng.randrange(len(records))
            payload = bytearray(records[place][12:-4])
            payload[rng.randrange(len(payload))] = rng.randrange(256)
            records[place] = framed(bytes(payload))
        data = b"".join(records)
        assert in_pieces(data, seed) == whole(data)


def test_noise_is_no_file() -> None:
    noise = random.Random(9).randbytes(300_000)
    found = whole(noise)
    assert found["points"] == {} and found["pending"].length > 299_000
    assert in_pieces(noise, 1) == found


def test_a_long_regular_file_reads_alike_in_any_pieces() -> None:
    data = b"".join(scalars(6000, tags=5))
    found = whole(data)
    assert found["points"] == reference(data)["points"]
    assert in_pieces(data, 3) == found
