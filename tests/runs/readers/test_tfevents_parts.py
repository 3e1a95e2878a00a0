"""P4: a restart opens a new part; jitter does not; nothing is hidden or renumbered."""

from __future__ import annotations

import time

from tensorboard.compat.proto import event_pb2

from runs.readers.records import Part
from tests.runs.readers.event_bytes import column, event, framed, in_pieces, record, scalars, shape, simple, whole

START = framed(event_pb2.Event(
    step=0, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START)).SerializeToString())
VERSION = framed(event_pb2.Event(file_version="brain.Event:2").SerializeToString())


def steps(*numbers: int, tag: str = "x") -> bytes:
    return b"".join(record(number, 1.0, simple(tag, number)) for number in numbers)


def test_part_zero_begins_at_the_first_record() -> None:
    assert whole(VERSION + steps(1))["parts"] == [Part(0, "start", 0)]
    assert whole(b"")["parts"] == []


def test_a_restart_from_a_checkpoint_is_a_part() -> None:
    data = steps(*range(200)) + steps(*range(100, 250))
    found = whole(data)
    assert shape(found) == {("x", 0): 200, ("x", 1): 150}
    assert found["parts"][1] == Part(1, "steps went back", len(steps(*range(200))), "x", 100, 136)
    assert in_pieces(data, 1) == found


def test_a_part_begins_for_every_tag_of_the_file() -> None:
    data = b"".join(scalars(300)) + b"".join(scalars(300, start=50))
    assert shape(whole(data)) == {(f"tag{n}", part): 300 for n in range(3) for part in range(2)}


def test_a_restart_within_an_event_of_many_values_takes_all_of_them() -> None:
    both = [record(step, 1.0, simple("a", step), simple("b", step))
            for step in [*range(100), *range(20, 90)]]
    assert shape(whole(b"".join(both))) == {
        ("a", 0): 100, ("b", 0): 100, ("a", 1): 70, ("b", 1): 70}


def test_jitter_within_the_last_64_steps_stays_in_file_order() -> None:
    numbers = [*range(100), 40, *range(100, 160), 140, 160]
    found = whole(steps(*numbers))
    assert len(found["parts"]) == 1 and [step for step, _ in column(found, "x")] == numbers


def test_windows_are_cleared_where_a_part_begins() -> None:
    numbers = [*range(100, 200), 50, 49, 60, 50]
    found = whole(steps(*numbers))
    assert [part.before for part in found["parts"]] == [None, 136, 50]
    assert in_pieces(steps(*numbers), 2) == found


def test_a_tag_unseen_since_the_part_began_starts_afresh() -> None:
    data = steps(*range(500, 700)) + steps(*range(500, 700), tag="y")
    data += steps(10, 11) + steps(400, 401, tag="y")
    assert shape(whole(data)) == {("x", 0): 200, ("y", 0): 200, ("x", 1): 2, ("y", 1): 2}


def test_a_sessions_start_is_a_part_once_something_was_said() -> None:
    data = VERSION + START + steps(1, 2) + START + START + steps(3)
    found = whole(data)
    offset = len(VERSION + START + steps(1, 2))
    assert found["parts"] == [Part(0, "start", 0), Part(1, "session", offset)]
    assert shape(found) == {("x", 0): 2, ("x", 1): 1}
    assert all(in_pieces(data, seed) == found for seed in range(5))


def test_a_session_within_a_burst_cuts_at_its_record() -> None:
    data = b"".join(scalars(900)) + START + b"".join(scalars(900, start=900))
    found = whole(data)
    assert shape(found) == {(f"tag{n}", part): 900 for n in range(3) for part in range(2)}
    assert in_pieces(data, 3) == found


def test_pictures_and_texts_lie_in_the_part_of_their_record() -> None:
    made = event_pb2.Event(step=5)
    made.summary.value.add(tag="i").image.width = 3
    image = framed(made.SerializeToString())
    found = whole(image + steps(*range(100)) + steps(3) + image)
    assert [blob.part for blob in found["blobs"]] == [0, 1]


def test_many_tags_that_all_fall_again_and_again_take_no_time_to_speak_of() -> None:
    payload = event(0, 1.0, simple("tag-00000", 1)).SerializeToString()
    tags = [payload.replace(b"00000", b"%05d" % n) for n in range(15_000)]
    falling = [framed(b"\t" + bytes(8) + b"\x10" + bytes([step]) + tag[9:])
               for step in (9, 8) for tag in tags]
    data = steps(*range(700, 0, -1)) + b"".join(falling)
    start = time.process_time()
    found = whole(data)
    assert time.process_time() - start < 10
    assert len(found["parts"]) > 700 and found["records"] == 30_700
