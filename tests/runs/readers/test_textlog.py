"""What trainers print: lines, bars, tracebacks, and the progress in them."""

from __future__ import annotations

import json
import math
import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runs import logchunks
from runs.readers import textlog
from runs.readers.records import Block
from runs.readers.spoken import spoken

BARS = "\r".join(
    f"{n:3d}%|{'#' * (n // 10):10}| {n * 5}/500 [00:{n // 2:02d}<01:00,  5.00it/s, loss={1 / (n + 1):.3f}]" for n in range(101))
FALCON = """\
2026-01-14T14:32:01 [INFO] [theta] Training started
2026-01-14T14:32:02 [INFO] Epoch 1/100 | steps=50 | n_sims=512 | train_loss=1.2e-01 | val_loss=-2.5e-01 | lr=1.0e-03
2026-01-14T14:32:03 [ERROR] Traceback (most recent call last):
  File "/app/falcon/node.py", line 3, in step
    raise ValueError("bad: [sample]")
ValueError: bad: [sample]
2026-01-14T14:32:09 [INFO] falcon launch failed (ValueError: bad: [sample])
2026-01-14T14:32:09 [INFO] Output: /out
"""


def read(data: bytes | str, tmp_path: Path, limits: list[int] | None = None) -> Block:
    """All of a log, as one block, read in pieces of ``limits`` bytes and through the states' dumps."""
    path = tmp_path / "log"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    fd, whole, state = os.open(path, os.O_RDONLY), Block(None), None
    try:
        for at in range(100_000):
            block = textlog.read(fd, state, limit=limits[at % len(limits)] if limits else 1 << 23)
            for name in ("points", "parts", "said", "damages"):
                getattr(whole, name).extend(getattr(block, name))
            for job, lines in block.lines.items():
                mine = whole.lines.setdefault(job, type(lines)())
                for line in zip(lines.raws, lines.walls, lines.levels, lines.events, strict=True):
                    mine.add(*line)
            state = textlog.State.load(block.state.dump())
            assert state == block.state
            if block.at_end:
                break
    finally:
        os.close(fd)
    whole.state = state
    return whole


def points(block: Block) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for one in block.points:
        found.setdefault(one.tag, []).extend(zip(one.steps.tolist(), one.values.tolist(), strict=True))
    return found


def messages(block: Block) -> list[tuple[str, str]]:
    return [(record["level"], record["msg"]) for record in map(json.loads, block.lines[""].raws)]


@pytest.mark.parametrize(("text", "step", "total", "figures"), [
    ("Step 100/1000 | Loss = 1.2", 100, 1000, {"loss": 1.2}),
    ("step: 5 loss: -inf", 5, None, {"loss": -math.inf}),
    ("[INFO] global_step=7, loss=1e-3, lr=5.0E-05", 7, None, {"loss": 1e-3, "lr": 5e-5}),
    ("iter 100: loss 2.3123, time 120.30ms, mfu 11.2%", 100, None, {"loss": 2.3123}),
    ("Iteration [5/100] val loss 0.1", 5, 100, {"val_loss": 0.1}),
    ("{'loss': 0.0, 'grad_norm': 1.25, 'learning_rate': 5e-05, 'epoch': 0.1}", None, None,
     {"loss": 0.0, "grad_norm": 1.25, "learning_rate": 5e-5}),
    ("{'eval_loss': '0.5', 'epoch': '1.0'}", None, None, {"eval_loss": 0.5}),
    ("Epoch 3/10 | steps=120 | train_loss=1.2e-01 | val_loss=-3.4", 120, None, {"train_loss": 0.12, "val_loss": -3.4}),
    ("total steps: 1000", None, None, {}),
    ("Saving every 100 steps", None, None, {}),
    ("learning_rate: 1e-4 batch_size: 8", None, None, {}),
    ("127.0.0.1 - - [14/Jan/2026] GET /a/b?step=ab 200 12/34", None, None, {}),
    ("loss: 0.5abc and lossless: 3", None, None, {"lossless": 3.0}),
])
def test_lines_of_trainers(text, step, total, figures):
    line = spoken(text)
    assert (line.step, line.total, line.figures) == (step, total, figures)


@pytest.mark.parametrize(("text", "bar", "speed"), [
    (" 45%|████▌  | 450/1000 [01:23<01:41,  5.40it/s, loss=0.051]", (450, 1000, True, "training"), 5.4),
    ("Training:   1%|▏  | 5/500 [00:10<15:00,  2.00s/it]", (5, 500, True, "training"), 0.5),
    ("model.safetensors:  12%|█ | 1.20G/9.90G [00:10<01:00, 120MB/s]", (1.2e9, 9.9e9, False, "download"), None),
    ("Evaluating: 50%|█| 5/10 [00:01<00:01, 5it/s]", (5, 10, False, "training"), None),
    ("32/100 [======>.....] - ETA: 1s - loss: 0.5", (32, 100, True, "training"), None),
])
def test_bars(text, bar, speed):
    found = spoken(text)
    assert found.bar and (found.bar.current, found.bar.total, found.bar.steps, found.bar.kind) == bar
    assert found.speed == speed


@pytest.mark.parametrize(("text", "level", "message"), [
    ("2026-01-14T14:32:01 [INFO] message [x]", "INFO", "message [x]"),
    ("[2026-01-14 14:32:01,123] [WARN] low", "WARNING", "low"),
    ("01/14/2026 14:32:01 - ERROR - trainer - gone", "ERROR", "- trainer - gone"),
    ("WARNING:root:disk is full", "WARNING", "root:disk is full"),
    ("plain words about INFO", "", "plain words about INFO"),
])
def test_levels(text, level, message):
    line = spoken(text)
    assert (line.level, line.message) == (level, message)
    assert line.at in (None, 1_768_401_121.0, 1_768_401_121.123)


def test_a_bar_gives_points_and_a_step_but_only_its_last_state_is_a_line(tmp_path):
    block = read(BARS + "\ndone\n", tmp_path)
    assert [step for step, _ in points(block)["loss"]] == [n * 5 for n in range(101)]
    assert [text for _, text in messages(block)][1:] == ["done"]
    said = block.said[-1]
    assert (said.step, said.total_steps, said.status) == (500, 500, "running")
    assert said.figures and said.figures.speed == 5.0 and said.figures.bars["training"]["value"] == 100.0


def test_tracebacks_are_one_entry_with_type_message_and_stack(tmp_path):
    block = read(FALCON, tmp_path)
    texts = messages(block)
    assert len(texts) == 5
    assert texts[2][0] == "ERROR" and texts[2][1].startswith("Traceback") and texts[2][1].endswith("ValueError: bad: [sample]")
    error = next(one for one in block.said if one.event == "log.traceback")
    assert (error.error, error.error_type) == ("ValueError: bad: [sample]", "ValueError")
    ended = next(one for one in block.said if one.event == "job.failed")
    assert (ended.status, ended.error, ended.at) == ("failed", "ValueError: bad: [sample]", 1_768_401_129.0)
    assert points(block)["val_loss"] == [(50, -0.25)]


def test_a_traceback_waits_for_its_end(tmp_path):
    cut = FALCON.index("ValueError: bad")
    block = read(FALCON[:cut], tmp_path)
    assert len(messages(block)) == 2 and block.state.offset == FALCON.index("2026-01-14T14:32:03")


def test_a_key_over_several_lines_is_one_entry_whatever_the_limits(tmp_path):
    key = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMHcCAQEEIA\noUQDQ==\n-----END EC PRIVATE KEY-----\n"
    text = f"start\n2026-01-01 00:00:00 INFO {key}-----BEGIN RSA PRIVATE KEY----- is how it begins\nI say so: no.\n"
    for limits in ([1 << 20], [1], [30, 7]):
        block = read(text, tmp_path, limits)
        assert [said.count("\n") for _, said in messages(block)] == [0, 5, 0, 0]
        lines = block.lines[""]
        logchunks.clean(lines)
        assert not any(secret in raw for raw in lines.raws for secret in (b"MHcCA", b"oUQDQ"))


@pytest.mark.parametrize("last", [
    "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", "RuntimeError: CUDA error: device-side assert",
    "ERROR: no such file", "Killed", "fatal: bad object",
])
def test_errors_are_told_from_what_is_said(tmp_path, last):
    block = read(f"Step 1 loss=1\n{last}\n", tmp_path)
    assert next(one for one in block.said if one.event == "log.error").error == last.removeprefix("ERROR: ")


def test_what_goes_to_stderr_is_no_error_by_its_level_alone(tmp_path):
    block = read("2026-01-14T14:32:01 [ERROR] UserWarning: slow\n", tmp_path)
    assert [level for level, _ in messages(block)] == ["ERROR"]
    assert block.said == []


def test_steps_do_not_go_back_unless_the_training_begins_anew(tmp_path):
    text = "".join(f"Step {n}/100 loss={n}\n" for n in range(1, 60)) + "Step 3/10 loss=9\nStep 60/100 loss=60\n"
    block = read(text, tmp_path)
    assert [step for step, _ in points(block)["loss"]] == list(range(1, 61)) and len(block.parts) == 1
    block = read(text + "Step 1/100 loss=5\nStep 2/100 loss=4\n", tmp_path)
    assert block.said[-1].step == 2 and [part.reason for part in block.parts] == ["start", "session"]
    block = read(text + "Killed\nStep 40/100 loss=5\n", tmp_path)
    assert block.said[-1].step == 40 and len(block.parts) == 2


def test_bars_of_epochs_count_on(tmp_path):
    places = [(epoch, n) for epoch in range(3) for n in range(0, 101, 25)]
    text = "".join(f"Epoch {epoch}: {n}%|#| {n}/100 [00:01<00:01, 9.0it/s, loss=0.5]\r" for epoch, n in places)
    assert [step for step, _ in points(read(text + "end\n", tmp_path))["loss"]] == [epoch * 100 + n for epoch, n in places]


def test_a_bar_that_a_dictionary_follows_is_of_no_epoch(tmp_path):
    text = "".join(f"\r{n}%|#| {n}/100 [00:10<00:10, 1.5s/it]{{'loss': 0.5, 'epoch': {n / 10}}}\n" for n in range(40))
    assert [step for step, _ in points(read(text, tmp_path))["loss"]] == list(range(40))


@pytest.mark.parametrize("absurd", [
    "50%|###  | 99999999999999999999/100 [00:10<00:10, loss=1]",
    "Epoch 1/999999999\n50%|###  | 1/9007199254740990 [00:10<00:10, loss=1]",
    "Epoch 0: 50%|#| 1/9007199254740990 [00:10, loss=1]\nEpoch 999999999: 50%|#| 1/9007199254740990 [00:10, loss=1]",
])
def test_a_bar_beyond_any_counter_does_not_end_the_reading(tmp_path, absurd):
    block = read(f"{absurd}\nstep 7 loss=0.5\n", tmp_path)
    assert points(block)["loss"][-1] == (7, 0.5)
    assert all(0 <= step < 2**63 for step, _ in points(block)["loss"])


def test_epochs_are_the_steps_where_nothing_else_is(tmp_path):
    block = read("".join(f"Epoch {n}/3 - loss: {n}.5 - acc: 90%\n" for n in (1, 2, 3)), tmp_path)
    assert points(block)["loss"] == [(1, 1.5), (2, 2.5), (3, 3.5)]
    assert (block.said[-1].total_steps, block.said[-1].epoch) == (3, 3.0)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 4000), min_size=1, max_size=5))
def test_the_blocks_are_the_same_whatever_the_limits(tmp_path_factory, limits):
    text = (BARS + "\n" + FALCON + "Step 7/9 loss=nan\r\n\n" + FALCON * 3).encode() + b"\x00\xff\x1b[31mred\x1b[0m\n"
    folder = tmp_path_factory.mktemp("limits")
    one, other = read(text, folder), read(text, folder, limits)
    assert one.lines == other.lines and repr(points(one)) == repr(points(other)) and one.parts == other.parts
    told = [[repr(said) for said in block.said if said.event != "progress"] for block in (one, other)]
    assert told[0] == told[1]


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=3000))
def test_any_bytes_are_read(tmp_path_factory, data):
    block = read(data, tmp_path_factory.mktemp("any"))
    for raw in block.lines.get("", textlog.Lines()).raws:
        json.loads(raw)


@pytest.mark.parametrize("text", [
    "1%|" * 1400, "a=" * 2000, "loss " * 800, "step " * 800, "epoch[" * 700, "1/1 " * 1000, "[" * 4000, "9" * 4000,
    "a.b-c/" * 700, "'loss': " * 500, "[==" * 1300, "2026-01-14T14:32:01" * 200, "ErrorError" * 400, "\x1b[" * 2000,
    "nan" * 1300,
])
def test_hostile_lines_cost_little(text):
    began = time.process_time()
    for _ in range(5):
        spoken(text)
        textlog._ERROR.search(text[:2000])
    assert time.process_time() - began < 0.5


def test_a_line_too_long_ends_where_any_line_ends(tmp_path):
    text = "x" * (textlog.LINE_BYTES + 1) + "\rstep 1 loss=2\rstep 2 loss=3\n"
    for limit in (1 << 23, 1 << 19):
        block = read(text, tmp_path, [limit])
        assert points(block) == {"loss": [(1, 2.0), (2, 3.0)]}
        assert [(one.offset, one.length, one.kind) for one in block.damages] == [(0, textlog.LINE_BYTES + 2, "too large")]


def test_a_line_without_end_is_passed_over_in_little_memory(tmp_path):
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.write(b"Step 1 loss=1\n")
        file.truncate(1 << 30)
        file.seek(0, 2)
        file.write(b"x\nStep 2 loss=2\n")
    fd, state, found = os.open(path, os.O_RDONLY), None, []
    for _ in range(2000):
        block = textlog.read(fd, state)
        state, found = block.state, [*found, *block.damages]
        if block.at_end:
            break
    os.close(fd)
    assert [damage.kind for damage in found] == ["too large"] and state is not None and state.step == 2


@pytest.mark.parametrize(("text", "trains"), [
    (BARS, True), (FALCON, False), ("".join(f"Step {n} loss={n}\n" for n in range(5)), True),
    ("".join(f"Jan 14 host kernel: [{n}.5] usb 1-{n}: step {n}\n" for n in range(99)), False),
    ("".join(f"127.0.0.1 GET /{n}/100 200\n" for n in range(99)), False),
    ("".join(f"2026-01-14 14:32:01 INFO packet loss: {n}%\n" for n in range(99)), False),
])
def test_a_training_is_told_from_other_logs(tmp_path, text, trains):
    (tmp_path / "x.log").write_text(text)
    fd = os.open(tmp_path / "x.log", os.O_RDONLY)
    assert textlog.peek(fd) == (True, trains)
    os.close(fd)
