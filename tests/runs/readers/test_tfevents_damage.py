"""P2, P3 and hostile data: damage is passed over, counted and shown; nothing hangs."""

from __future__ import annotations

import random
import resource
import time
import tracemalloc

import pytest
from tensorboard.compat.proto import event_pb2

from runs.readers import tfevents
from runs.readers.records import Damage, TooMuch
from runs.readers.tfevents import State, peek, read
from tests.runs.readers.event_bytes import (
    blocks,
    event,
    framed,
    head,
    in_pieces,
    joined,
    opened,
    record,
    scalars,
    shape,
    simple,
    whole,
)
from tests.runs.readers.test_tfevents_fuzz import mixed, mutated


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


def test_a_tail_that_grows_byte_by_byte_gives_each_record_once() -> None:
    records = scalars(4)
    data = b"".join(records)
    found, state = [], None
    for length in range(len(data) + 1):
        with opened(data[:length]) as fd:
            block = read(fd, state)
        assert block.at_end and block.pending is None
        found.append(block)
        state = block.state
    assert joined(found) == whole(data) and shape(joined(found)) == {
        ("tag0", 0): 4, ("tag1", 0): 4, ("tag2", 0): 4}


def test_space_reserved_with_zeros_is_waited_in_and_then_filled() -> None:
    records = scalars(5)
    data, room = b"".join(records), 500
    found, state = [], None
    for length in range(0, len(data) + 1, 3):
        with opened(data[:length] + bytes(len(data) - length + room)) as fd:
            block = read(fd, state)
        assert block.at_end and not block.damages and block.pending is None
        found.append(block)
        state = block.state
    found.append(block)
    with opened(data + bytes(room)) as fd:
        found[-1] = read(fd, state)
    assert joined(found)["points"] == whole(data)["points"]


@pytest.mark.parametrize("place", [0, 1, 20, 300, 899])
def test_one_bad_payload_costs_one_record(place: int) -> None:
    records = scalars(300)
    offset = sum(map(len, records[:place]))
    data = flipped(b"".join(records), offset + 15)
    found = whole(data)
    assert found["damages"] == [Damage(offset, len(records[place]), "payload crc")]
    assert sum(shape(found).values()) == 899 == found["records"]
    assert in_pieces(data, place) == found


def test_every_bad_payload_of_a_burst_is_found() -> None:
    records = scalars(2000, tags=2)
    bad = random.Random(1).sample(range(100, 4000), 60)
    for place in bad:
        records[place] = flipped(records[place], len(records[place]) - 6)
    found = whole(b"".join(records))
    assert len(found["damages"]) == 60 and sum(shape(found).values()) == 3940


def test_a_good_frame_around_no_event_is_damage() -> None:
    data = record(1, 1.0, simple("x", 1)) + framed(b"\xff\xff\xff") + record(2, 1.0, simple("x", 1))
    (damage,) = whole(data)["damages"]
    assert damage.kind == "not a record" and shape(whole(data)) == {("x", 0): 2}


def test_behind_a_bad_header_the_next_record_is_found() -> None:
    records = scalars(200)
    offset = sum(map(len, records[:100]))
    data = flipped(b"".join(records), offset + 9)
    found = whole(data)
    assert found["damages"] == [Damage(offset, len(records[100]), "length crc")]
    assert found["records"] == 599 and all(in_pieces(data, seed) == found for seed in range(4))


def test_garbage_between_records_is_counted_to_the_byte() -> None:
    garbage = random.Random(4).randbytes(30_000)
    data = b"".join(scalars(50)) + garbage + b"".join(scalars(50, start=50))
    found = whole(data)
    assert found["damages"] == [Damage(len(b"".join(scalars(50))), 30_000, "length crc")]
    assert found["records"] == 300 and in_pieces(data, 6) == found


def test_lost_bytes_at_the_end_show_before_a_record_follows_them() -> None:
    good = b"".join(scalars(3))
    with opened(good + b"g" * 400) as fd:
        block = read(fd, None)
    assert block.at_end and not block.damages
    assert block.pending and block.pending.offset == len(good) and block.pending.length > 380
    with opened(good + b"g" * 400 + record(9, 1.0, simple("x", 1))) as fd:
        block = read(fd, State.load(block.state.dump()))
    assert block.damages == [Damage(len(good), 400, "length crc")] and block.pending is None


def test_a_header_that_waits_for_its_payload_ends_a_search_only_when_it_is_right() -> None:
    trap = head(5000)
    data = b"x" * 100 + trap + b"".join(scalars(40))
    assert whole(data[:300])["records"] == 0
    found = whole(data)
    assert found["records"] == 120 and found["damages"] == [Damage(0, 112, "length crc")]


@pytest.mark.parametrize("length", [2**31, 2**40, 2**63, 2**64 - 1])
def test_a_length_beyond_reason_allocates_nothing(length: int) -> None:
    data = record(1, 1.0, simple("x", 1)) + head(length) + b"".join(scalars(20))
    tracemalloc.start()
    found = whole(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found["damages"] == [Damage(len(record(1, 1.0, simple("x", 1))), 12, "too large")]
    assert found["records"] == 61 and peak < 20_000_000


def test_a_huge_record_is_checked_without_being_loaded() -> None:
    made = event(5, 2.0, simple("a/pic", 0), simple("loss", 1.5))
    made.summary.value[0].image.encoded_image_string = bytes(40_000_000)
    data = framed(made.SerializeToString()) + record(6, 3.0, simple("loss", 2.5))
    with opened(data) as fd:
        del made
        tracemalloc.start()
        found = blocks(fd, lambda: 1 << 20)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 12_000_000
    (blob,) = found[0].blobs
    assert (blob.tag, blob.step, blob.kind, blob.length) == (
        "a/pic", 5, "image", len(data) - len(record(6, 3.0, simple("loss", 2.5))))
    assert shape(joined(found)) == {("loss", 0): 2}
    assert joined(found) == whole(data, max_tags=9)


def test_a_huge_record_with_one_wrong_bit_is_damage() -> None:
    data = flipped(framed(b"\x1a" + b"\x80\x80\x80\x08" + bytes(16 << 20)), 9_000_000)
    assert whole(data + b"".join(scalars(2)))["damages"] == [
        Damage(0, len(data), "payload crc")]


def test_too_many_tags_are_an_error_that_names_the_limit() -> None:
    data = b"".join(record(0, 1.0, simple(f"t{n}", 1)) for n in range(1200))
    with pytest.raises(TooMuch, match="1,000 tags"):
        whole(data, max_tags=1000)
    assert len(shape(whole(data, max_tags=1200))) == 1200


def test_a_million_tags_end_at_the_default_limit_in_time() -> None:
    payload = event(0, 1.0, simple("tag-0000000", 1)).SerializeToString()
    data = b"".join(framed(payload.replace(b"0000000", b"%07d" % n)) for n in range(101_000))
    start = time.process_time()
    with pytest.raises(TooMuch, match="100,000 tags"):
        whole(data)
    assert time.process_time() - start < 20


def test_headers_that_lie_do_not_take_a_search_for_ever() -> None:
    data = b"x" * 12 + head(2_000_000) * 200_000
    start = time.process_time()
    whole(data)
    assert time.process_time() - start < 10


def test_deeply_nested_and_endless_messages_end() -> None:
    groups = b"\x0b" * 100_000
    nested = b""
    for _ in range(2000):
        nested = b"\x2a" + _varint(len(nested)) + nested
    many = b"\x2a" + _varint(400_000) + b"\x0a\x00" * 200_000
    found = whole(framed(groups) + framed(nested) + framed(many) + b"".join(scalars(2)))
    assert [damage.kind for damage in found["damages"]] == ["not a record"] * len(found["damages"])
    assert shape(found) == {("tag0", 0): 2, ("tag1", 0): 2, ("tag2", 0): 2}


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def test_steps_that_run_backwards_stop_cutting_parts_at_a_limit() -> None:
    data = b"".join(record(5000 - n, 1.0, simple("x", n)) for n in range(3000))
    found = whole(data)
    assert len(found["parts"]) == 1000 and sum(shape(found).values()) == 3000
    assert in_pieces(data, 1) == found


def test_a_state_of_a_thousand_tags_is_a_few_kilobytes() -> None:
    data = b"".join(scalars(100, tags=1000))
    with opened(data) as fd:
        dumped = read(fd, None).state.dump()
    assert len(dumped) < 12_000 and State.load(dumped).dump() == dumped
    with pytest.raises(ValueError, match="state"):
        State.load(b"junk")


def test_read_leaves_the_given_state_as_it_was() -> None:
    with opened(b"".join(scalars(300))) as fd:
        state = read(fd, None, limit=5000).state
        before = state.dump()
        first, again = read(fd, state, limit=9000), read(fd, state, limit=9000)
    assert state.dump() == before and joined([first]) == joined([again])


def test_peek_tells_the_tags_of_an_event_file_from_no_event_file() -> None:
    with opened(b"".join(scalars(5))) as fd:
        found = peek(fd)
    assert found.is_event_file and found.tags == ["tag0", "tag1", "tag2"]
    assert found.first_wall == 1e9
    for data in (b"", b"junk" * 10, head(2**63) + b"x", event_pb2.Event().SerializeToString()):
        with opened(data) as fd:
            assert not peek(fd).tags


def test_peak_memory_follows_a_block_not_the_file() -> None:
    data = b"".join(scalars(20_000, tags=2))
    with opened(data * 4) as fd:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        blocks(fd, lambda: 1 << 20)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 60_000  # KB


def test_records_left_on_disk_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(6):
        rng = random.Random(seed)
        data = mutated(rng, mixed(rng))
        wanted = whole(data)
        with monkeypatch.context() as patched:
            patched.setattr(tfevents, "WHOLE_BYTES", 60)
            assert whole(data) == wanted


def test_a_state_whose_read_failed_reads_on_as_if_it_had_not() -> None:
    first, more = b"".join(scalars(80, tags=2)), b"".join(scalars(90, tags=5, start=80))
    with opened(first + more) as fd:
        state = read(fd, None, limit=len(first)).state
        with pytest.raises(TooMuch):
            read(fd, state, max_tags=4)
        again = read(fd, state, max_tags=5)
    with opened(first + more) as fd:
        assert joined([again]) == joined([read(fd, State.load(state.dump()))])
