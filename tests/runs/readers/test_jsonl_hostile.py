"""Job logs: the same whatever the resume points, and calm whatever the bytes."""

from __future__ import annotations

import itertools
import json
import math
import os
import resource
import time
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from runs.readers import jobfold, jsonl, plain
from runs.readers.records import Damage, TooMuch

from .joblines import AT, blocks, essential, line, opened, points, progress, read, step, values

LINES = st.one_of(
    st.builds(step, st.integers(-5, 300), st.sampled_from(["a", "b", ""])),
    st.builds(step, st.none(), loss=st.floats(), gpu=st.just([{"utilization": 1}, {"power_watts": 2.5}])),
    st.builds(
        line,
        st.sampled_from([
            "job.queued", "job.started", "training.start", "training.complete", "training.failed", "stage.sampling",
            "training.sample", "subprocess.stdout", "", "job.progress",
        ]),
        st.sampled_from(["a", "b"]),
        st.sampled_from([AT, "nonsense", 1767090601, None]),
        st.sampled_from(["INFO", "ERROR"]),
        total_steps=st.sampled_from([None, 5, 10**30]),
        eta_seconds=st.sampled_from([None, 3]),
    ),
    st.builds(
        progress, st.integers(0, 90), st.sampled_from(["queued", "running", "failed", "completed"]),
        st.sampled_from(["training", "sampling"]), loss=st.floats(), error=st.sampled_from([None, "e"]),
    ),
    st.sampled_from([
        b"\n", b"  \r\n", b"{}\r\n", b"[1]\n", b"nonsense\n", b"\x00\x00\n", b'{"ts": 1}\n', b'{"a":\n', b"1}\n",
        b'{"ts": 1, "msg": "m"} {"ts": 2, "msg": "n"}\n', b'{"ts": 1, "msg": "\xff\\ud800", "event": "stage.\\u0000"}\n',
    ]),
)  # fmt: skip


@given(st.lists(LINES, max_size=40), st.lists(st.integers(1, 2_000), min_size=1, max_size=8), st.binary(max_size=20))
@settings(max_examples=150, deadline=None)
def test_blocks_are_the_same_whatever_the_limits(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], limits: list[int], tail: bytes
) -> None:
    data = b"".join(lines) + tail.replace(b"\n", b"")
    with opened(tmp_path_factory.mktemp("log"), data) as fd:
        whole, cut = blocks(fd), blocks(fd, None, itertools.cycle(limits))
    assert whole[-1].state == cut[-1].state
    for name in ("parts", "damages"):
        assert [one for block in cut for one in getattr(block, name)] == getattr(whole[0], name)
    assert sum(block.records for block in cut) == whole[0].records
    assert str(sorted(points(cut).items())) == str(sorted(points(whole).items()))
    said = [essential([one for block in found for one in block.said]) for found in (whole, cut)]
    assert str(said[0]) == str(said[1])


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_read_to_the_last_newline(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    with opened(tmp_path_factory.mktemp("log"), data) as fd:
        assert blocks(fd)[-1].state.offset == data.rfind(b"\n") + 1
        jsonl.peek(fd)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_mutated_log_never_crashes(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    log = bytearray(line("training.start") + step(1, gpu={"utilization": 1}) + progress(3) + line("training.failed"))
    for _ in range(data.draw(st.integers(1, 5))):
        log[data.draw(st.integers(0, len(log) - 1))] = data.draw(st.sampled_from(b'{}[]",:0e\\\n\x00\xff-9utN'))
    with opened(tmp_path_factory.mktemp("log"), bytes(log)) as fd:
        for block in blocks(fd):
            json.dumps([one.fields for one in block.said], allow_nan=False).encode()


@pytest.mark.parametrize(
    ("bad", "detail"),
    [(b"not json", "not JSON"), (b"[1, 2]", "not an object"), (b"\x00" * 9, "not JSON"), (b'{"a": 1} {"b": 2}', "not JSON"),
     (b"[" * 100_000, "nested too deeply"), (b'{"a":' * 100_000, "nested too deeply"), (b'{"a": 01}', "not JSON")],
)  # fmt: skip
def test_a_bad_line_is_skipped_and_counted(tmp_path: Path, bad: bytes, detail: str) -> None:
    block = read(tmp_path, step(1) + bad + b"\n" + step(2))
    assert values(block) == [0.1, 0.2]
    assert block.damages == [Damage(len(step(1)), len(bad) + 1, "not a record", detail)]


@pytest.mark.parametrize(
    ("written", "read_as"),
    [(b"NaN", math.nan), (b"Infinity", math.inf), (b"-Infinity", -math.inf), (b"1e999", math.inf), (b"-1e999", -math.inf),
     (b"1" + b"0" * 400, math.inf), (b"-1" + b"0" * 9_000, -math.inf), (b"9223372036854775808", 2.0**63), (b"-0.0", 0.0),
     (b"1, \"loss\": 2", 2.0)],
)  # fmt: skip
def test_a_number_beyond_strict_json_is_a_value(tmp_path: Path, written: bytes, read_as: float) -> None:
    (found,) = values(read(tmp_path, step(1, loss=0.5).replace(b"0.5", written)))
    assert found == read_as or (math.isnan(found) and math.isnan(read_as))


@pytest.mark.parametrize("number", ["1e999", "NaN", '"7"', "true", "99999999999999999999", "1.5", "null", "{}"])
def test_a_step_that_is_none_leaves_the_job_where_it_was(tmp_path: Path, number: str) -> None:
    bad = step(1, loss=9.0).replace(b'"step": 1', f'"step": {number}'.encode())
    assert points(read(tmp_path, step(4) + bad))["train-1", "loss", 0] == [(4, 0.4), (4, 9.0)]


def test_text_that_postgresql_refuses_is_replaced(tmp_path: Path) -> None:
    fields = b'"fields": {"\\u0000": "\\ud800"}'
    bad = b'{"ts": 1, "msg": "a\\u0000\xffb\\ud800\t", "event": "stage.x", "job_id": "\\udc00", ' + fields + b"}\n"
    (said,) = read(tmp_path, bad).said
    assert said.message == "a\\x00\ufffdb\\ud800\t"
    assert (said.job, said.fields) == ("\\udc00", {"\\x00": "\\ud800"})


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    block = read(tmp_path, b"\xef\xbb\xbf" + (step(1) + step(2)).replace(b"\n", b"\r\n"))
    assert (values(block), block.damages) == ([0.1, 0.2], [])


def test_fields_are_bounded_and_fit_a_json_column(tmp_path: Path) -> None:
    wide = {f"k{n}": n for n in range(10_000)}
    deep: object = math.nan
    for _ in range(100):
        deep = [deep]
    start = line("training.start", deep=deep, nan=math.nan, big=10**400, long="x" * 10**6, wide=wide)
    (said,) = read(tmp_path, start).said
    assert len(json.dumps(said.fields, allow_nan=False)) < plain.MAX_CHARACTERS + plain.MAX_VALUES * 20
    assert said.fields["nan"] == "nan"


def test_a_line_too_long_is_passed_over_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "LINE_BYTES", 5_000)
    monkeypatch.setattr(jsonl, "_PIECE", 512)
    just, over = step(2, note="x" * 4_700), step(3, note="x" * 20_000)
    with opened(tmp_path, step(1) + just + over + step(4)) as fd:
        for limit in (100, 700, 5_000, 1_000_000):
            found = blocks(fd, None, itertools.repeat(limit))
            assert [damage for block in found for damage in block.damages] == [
                Damage(len(step(1) + just), len(over), "too large")
            ]
            assert points(found)["train-1", "loss", 0] == [(1, 0.1), (2, 0.2), (4, 0.4)]


def test_a_line_too_long_without_an_end_waits_and_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "LINE_BYTES", 1_000)
    with opened(tmp_path, step(1) + b"x" * 5_000) as fd:
        waiting = blocks(fd, None, itertools.repeat(300))[-1]
        assert waiting.pending == Damage(len(step(1)), 5_000, "too large") and waiting.at_end
        with open(tmp_path / "log.jsonl", "ab") as file:
            file.write(b"\n" + step(2))
        found = blocks(fd, waiting.state)
    assert [block.pending for block in found] == [None] * len(found)
    assert found[0].damages == [Damage(len(step(1)), 5_001, "too large")] and values(found[-1]) == [0.2]


def test_a_line_of_a_gigabyte_costs_neither_memory_nor_time(tmp_path: Path) -> None:
    with opened(tmp_path, b'{"a": "') as fd:
        with open(tmp_path / "log.jsonl", "r+b") as file:
            file.seek(10**9)
            file.write(b'"}\n' + step(1))
        begin, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found = blocks(fd)
    assert time.process_time() - begin < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000
    assert values(found[-1]) == [0.1] and found[-2].damages[0].length == 10**9 + 3


def test_a_line_of_millions_of_values_is_too_large(tmp_path: Path) -> None:
    block = read(tmp_path, b'{"ts": 1, "msg": [' + b"[]," * 1_500_000 + b"0]}\n" + step(1))
    assert block.damages[0].detail == "too many values" and values(block) == [0.1]


def test_a_million_tags_or_jobs_are_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tags = b"".join(step(1, **{f"t{n}-{m}": 1.0 for m in range(100)}) for n in range(101))
    with pytest.raises(TooMuch, match="tags"):
        read(tmp_path, tags)
    monkeypatch.setattr(jobfold, "MAX_JOBS", 5)
    with pytest.raises(TooMuch, match="jobs"):
        read(tmp_path, b"".join(step(1, f"job-{n}") for n in range(6)))


def test_steps_that_run_backwards_do_not_make_a_part_each(tmp_path: Path) -> None:
    block = read(tmp_path, b"".join(step(n) for n in range(5_000, 0, -1)))
    assert len(block.parts) == jobfold.MAX_PARTS
    assert sum(map(len, points(block).values())) == 5_000


def test_the_state_given_is_left_as_it_was(tmp_path: Path) -> None:
    with opened(tmp_path, step(1) + line("training.failed")) as fd:
        state = jsonl.read(fd, limit=10).state
        dumped = state.dump()
        jsonl.read(fd, state)
        assert state.dump() == dumped and len(dumped) < 300


@pytest.mark.parametrize("dumped", [b"", b"nonsense", zstandard.compress(b"\x80"), zstandard.compress(b"\x01")])
def test_a_dump_that_is_not_ours_is_a_value_error_or_a_fresh_state(dumped: bytes) -> None:
    try:
        assert jsonl.State.load(dumped) == jsonl.State()
    except ValueError:
        pass


def test_a_hundred_thousand_steps_are_read_in_seconds(tmp_path: Path) -> None:
    data = b"".join(step(n, lr=1e-4) for n in range(100_000))
    with opened(tmp_path, data) as fd:
        begin = time.process_time()
        found = blocks(fd)
        assert time.process_time() - begin < 3
    assert sum(map(len, points(found).values())) == 200_000
    assert os.path.getsize(tmp_path / "log.jsonl") == found[-1].state.offset
