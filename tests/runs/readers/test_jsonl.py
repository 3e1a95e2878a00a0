"""Job logs: what their lines become."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import msgspec
import pytest

from runs.readers import jsonl, progress
from runs.readers.records import Part

from .joblines import AT, WALL, line, opened, points, read, step, values
from .joblines import progress as progress_line


def test_steps_become_points_in_file_order(tmp_path: Path) -> None:
    block = read(tmp_path, step(1) + step(2, lr=1e-4) + step(3))
    assert points(block) == {
        ("train-1", "loss", 0): [(1, 0.1), (2, 0.2), (3, 0.3)],
        ("train-1", "lr", 0): [(2, 1e-4)],
    }
    assert block.points[0].walls.tolist() == [WALL] * 3


def test_steps_percentages_and_eta_are_no_series(tmp_path: Path) -> None:
    block = read(tmp_path, step(5, progress_pct=0.5, eta_seconds=810, iteration_speed=2.5, note="x", ok=True))
    assert {tag for _, tag, _ in points(block)} == {"loss", "iteration_speed"}


def test_zero_and_negative_and_infinite_values_are_values(tmp_path: Path) -> None:
    block = read(tmp_path, b"".join(step(1, loss=loss) for loss in (0, -2.5, math.nan, math.inf, -math.inf)))
    assert values(block)[:2] == [0.0, -2.5]
    assert math.isnan(values(block)[2])
    assert values(block)[3:] == [math.inf, -math.inf]


def test_steps_say_nothing_but_how_the_job_stands_at_the_end(tmp_path: Path) -> None:
    block = read(tmp_path, b"".join(step(n, eta_seconds=100 - n, epoch=n / 10) for n in range(50)))
    (said,) = block.said
    assert (said.event, said.status, said.step, said.total_steps) == ("progress", "running", 49, 1000)
    assert (said.eta_seconds, said.epoch, said.message) == (51.0, 4.9, "training.step!")


def test_a_job_goes_from_start_to_complete(tmp_path: Path) -> None:
    block = read(
        tmp_path,
        line("job.queued") + line("training.start", total_steps=2, config={"lr": 1}) + step(1) + step(2)
        + line("training.complete", final_loss=0.2, total_steps=2),
    )  # fmt: skip
    assert [(said.event, said.status) for said in block.said] == [
        ("job.queued", "queued"),
        ("training.start", "running"),
        ("progress", None),
        ("training.complete", "finished"),
    ]
    assert block.said[1].total_steps == 2 and block.said[1].fields["config"] == {"lr": 1}
    assert block.said[3].word == "completed"


@pytest.mark.parametrize(
    ("event", "status"),
    [("training.failed", "failed"), ("job.failed", "failed"), ("job.error", "failed"),
     ("training.cancelled", "killed"), ("job.cancelled", "killed"), ("job.completed", "finished")],
)  # fmt: skip
def test_every_end_has_its_status(tmp_path: Path, event: str, status: str) -> None:
    (said,) = read(tmp_path, line(event)).said
    assert said.status == status


def test_a_failure_tells_its_error_type_and_stack(tmp_path: Path) -> None:
    failed = line("training.failed", level="ERROR", error="out of memory", error_type="OOM", stack_trace="at x")
    (said,) = read(tmp_path, failed).said
    assert (said.error, said.error_type, said.error_stack) == ("out of memory", "OOM", "at x")


def test_an_error_line_without_an_error_is_its_own_message(tmp_path: Path) -> None:
    (said,) = read(tmp_path, line("subprocess.stderr", level="ERROR")).said
    assert (said.error, said.status) == ("subprocess.stderr!", None)


def test_ordinary_lines_say_nothing(tmp_path: Path) -> None:
    block = read(tmp_path, line("subprocess.stdout") + line() + line("system.startup", level="WARNING"))
    assert (block.said, block.points, block.records) == ([], [], 3)


def test_stages_samples_and_checkpoints_are_said(tmp_path: Path) -> None:
    block = read(
        tmp_path,
        line("stage.captioning") + line("training.sample", sample_path="a.png", step=5)
        + line("training.checkpoint", checkpoint_path="b", step=6),
    )  # fmt: skip
    assert [(said.event, said.stage, said.step) for said in block.said] == [
        ("stage.captioning", "captioning", None),
        ("training.sample", None, 5),
        ("training.checkpoint", None, 6),
    ]


def test_a_new_start_is_a_new_part_and_runs_again(tmp_path: Path) -> None:
    start = line("training.start")
    block = read(tmp_path, start + step(1) + line("training.failed") + start + step(1))
    assert points(block) == {("train-1", "loss", 0): [(1, 0.1)], ("train-1", "loss", 1): [(1, 0.1)]}
    assert [part.reason for part in block.parts] == ["start", "session"]
    assert [said.status for said in block.said if said.status] == ["running", "failed", "running"]


def test_a_job_started_after_its_end_and_its_training_start_are_one_part(tmp_path: Path) -> None:
    begin = line("job.started") + line("training.start")
    block = read(tmp_path, begin + step(5) + line("job.failed") + begin + step(6))
    assert [part.number for part in block.parts] == [0, 1]


def test_a_step_far_back_is_a_new_part_and_jitter_is_not(tmp_path: Path) -> None:
    steps = [*range(100, 200), 190, 201, 120, 121]
    block = read(tmp_path, b"".join(step(n, grad=1.0) for n in steps))
    assert [pair[0] for pair in points(block)["train-1", "loss", 1]] == [120, 121]
    assert [pair[0] for pair in points(block)["train-1", "grad", 1]] == [120, 121]
    assert block.parts[1:] == [
        Part(1, "steps went back", sum(map(len, (step(n, grad=1.0) for n in steps[:-2]))), "loss", 120, 138, "train-1")
    ]


def test_jobs_of_one_file_are_kept_apart(tmp_path: Path) -> None:
    block = read(tmp_path, step(9, "a") + step(1, "b") + step(10, "a") + line("training.failed", "b") + step(1, "a"))
    assert points(block)["a", "loss", 0] == [(9, 0.9), (10, 1.0)]
    assert points(block)["a", "loss", 1] == [(1, 0.1)]
    assert points(block)["b", "loss", 0] == [(1, 0.1)]
    assert [said.job for said in block.said if said.status == "failed"] == ["b"]


def test_two_gpus_are_two_cards_at_the_last_known_step(tmp_path: Path) -> None:
    gpu = [{"utilization": 0, "power_watts": 80.5}, {"utilization": 99, "name": "H100"}]
    block = read(tmp_path, step(7) + line("system.gpu", gpu=gpu) + step(8, gpu={"temperature": 60}))
    found = points(block)
    assert found["train-1", "gpu/0/utilization", 0] == [(7, 0.0)]
    assert found["train-1", "gpu/0/power_watts", 0] == [(7, 80.5)]
    assert found["train-1", "gpu/1/utilization", 0] == [(7, 99.0)]
    assert found["train-1", "gpu/0/temperature", 0] == [(8, 60.0)]


@pytest.mark.parametrize(
    ("ts", "wall"),
    [(AT, WALL), ("2025-12-30T10:30:00.123+00:00", WALL), ("2025-12-30T11:30:00.123+01:00", WALL),
     ("2025-12-30T10:30:00.123", WALL), (WALL, WALL), (1767090600123, WALL), ("soon", None), (True, None),
     (-1, None), (1e300, None), ("0001-01-01T00:00:00+23:59", None), (None, None), ({}, None)],
)  # fmt: skip
def test_every_form_of_a_time(tmp_path: Path, ts: object, wall: float | None) -> None:
    block = read(tmp_path, line("stage.x", ts=ts) + line("training.step", ts=ts, step=1, loss=1.0))
    assert block.said[0].at == (None if wall is None else pytest.approx(wall, abs=1e-6))
    assert math.isnan(block.points[0].walls[0]) == (wall is None)
    assert block.first_wall == block.last_wall == block.said[0].at


def test_progress_events_say_only_what_is_new(tmp_path: Path) -> None:
    block = read(
        tmp_path,
        progress_line(0, "queued", "queued") + progress_line(0, stage="loading_model") + progress_line(0, stage="training")
        + progress_line(1, loss=0.5, iteration_speed=2.0) + progress_line(2, loss=0.4, sample_path="s.png")
        + progress_line(3, sample_path="s.png") + progress_line(3, "failed", "failed", error="oom", error_type="E"),
    )  # fmt: skip
    assert [(said.event, said.status, said.stage) for said in block.said] == [
        ("job.queued", "queued", "queued"),
        ("job.running", "running", "loading_model"),
        ("stage.training", "running", "training"),
        ("progress", None, "training"),
        ("training.sample", "running", "training"),
        ("progress", None, "training"),
        ("job.failed", "failed", "failed"),
    ]
    assert block.said[-1].error == "oom"
    assert points(block)["train-1", "loss", 0] == [(1, 0.5), (2, 0.4)]


def test_a_lifecycle_log_tells_start_and_end(tmp_path: Path) -> None:
    def said(kind: str, payload: dict[str, object]) -> bytes:
        return json.dumps({"timestamp": AT, "event_type": kind, "payload": payload}).encode() + b"\n"

    block = read(tmp_path, said("run_started", {"pid": 1}) + said("run_exited", {"exit_code": 3}) + said("run_started", {})
                 + said("run_exited", {"pid": 1}) + said("run_stopped", {"signal": "SIGTERM"}))  # fmt: skip
    words = [(one.word, one.status) for one in block.said]
    assert words[:2] == [("running", "running"), ("exited", "failed")]
    assert words[3:] == [("exited", "finished"), ("stopped", "killed")]


def test_a_service_log_names_its_jobs_in_its_context(tmp_path: Path) -> None:
    record = {"timestamp": AT, "level": "ERROR", "service": "api", "logger": "x", "message": "m", "exception": "Traceback"}
    data = json.dumps({**record, "event": "job.error", "context": {"job_id": "train-9", "error": "boom"}}).encode() + b"\n"
    (said,) = read(tmp_path, data).said
    assert (said.job, said.status, said.error, said.error_stack) == ("train-9", "failed", "boom", "Traceback")


# What a file is


def peek(folder: Path, data: bytes, **kwargs: int) -> jsonl.Dialect | jsonl.Undecided | None:
    with opened(folder, data) as fd:
        return jsonl.peek(fd, **kwargs)


def test_a_job_log_is_known_by_its_first_line(tmp_path: Path) -> None:
    start = line("training.start", config={"dataset_name": "d", "logging_dir": "/l"}, run_name="r")
    assert peek(tmp_path, start + step(1)) == jsonl.Dialect("job log", "train-1", "r", "/l", "d")
    assert peek(tmp_path, progress_line(1)) == jsonl.Dialect("progress", "train-1")
    service = json.dumps({"timestamp": AT, "level": "INFO", "service": "api", "logger": "x", "message": "m"})
    assert peek(tmp_path, service.encode() + b"\n") == jsonl.Dialect("service log")
    lifecycle = json.dumps({"timestamp": AT, "event_type": "run_started", "payload": {}})
    assert peek(tmp_path, lifecycle.encode() + b"\n") == jsonl.Dialect("lifecycle")


@pytest.mark.parametrize(
    "row",
    [{"instruction": "a", "output": "b"}, {"messages": [{"role": "user", "content": "x"}]}, {"run_id": "a", "type": "router"},
     {"timestamp": AT, "level": "info", "title": "t", "message": "m", "cost": 1}, [1], 5, "text"],
)  # fmt: skip
def test_what_is_no_log_is_none(tmp_path: Path, row: object) -> None:
    assert peek(tmp_path, (json.dumps(row) + "\n").encode() * 3) is None


def test_a_data_set_with_one_line_like_a_log_is_none(tmp_path: Path) -> None:
    assert peek(tmp_path, b'{"instruction": "a"}\n' * 3 + line("training.start")) is None


def test_a_first_line_with_a_large_configuration_is_one_of_a_log(tmp_path: Path) -> None:
    """A pushed run whose first record had 15,000 settings was accepted, and never shown."""
    large = line("training.start", config={f"setting-{number}": number for number in range(15_000)})
    assert len(large) > jsonl.PEEK_BYTES and peek(tmp_path, large) == jsonl.Dialect("job log", "train-1")
    larger = line("training.start", config={"prompt": "x" * jsonl.LONGER_PEEK}, run_name="r")
    assert peek(tmp_path, larger[:-1]) == jsonl.Undecided()
    assert peek(tmp_path, larger) == jsonl.Dialect("job log", "train-1", "r")
    assert peek(tmp_path, b"{" * (jsonl.LINE_BYTES + 1)) is None


def test_without_a_whole_line_nothing_is_decided(tmp_path: Path) -> None:
    assert peek(tmp_path, b"") == jsonl.Undecided()
    assert peek(tmp_path, line("training.start")[:-1]) == jsonl.Undecided()
    assert peek(tmp_path, b"\n\n") == jsonl.Undecided()
    assert peek(tmp_path, b"x" * 5000, max_bytes=4096) == jsonl.Undecided()
    assert peek(tmp_path, b"x" * (jsonl.LONGER_PEEK + 1)) is None
    assert peek(tmp_path, b"broken\n" + line("training.start")) == jsonl.Dialect("job log", "train-1")


# The published event, and the way of a status


def test_a_progress_event_survives_the_round_trip() -> None:
    event = progress.TrainingProgressEvent(
        job_id="train-1", status="running", stage=progress.Stage.LOADING_MODEL, step=1, steps_total=10,
        progress_pct=10.0, message="m", timestamp=AT, iteration_speed=2.5, checkpoint_path="c", sample_path="s",
        gpu=[progress.Gpu(utilization=0, power_watts=80)], error="e", error_type="t", error_stack="s", loss=-1.0, lr=0.0,
        progress_bar=progress.ProgressBar(id="b", type="download", label="l", value=0, total=9, current=0),
    )  # fmt: skip
    written = msgspec.json.encode(event)
    assert msgspec.json.decode(written, type=progress.TrainingProgressEvent) == event
    assert b"correlation_id" not in written and b'"lr":0' in written


def test_the_schema_names_every_field_and_the_twelve_stages() -> None:
    definitions = progress.schema()["$defs"]
    event = definitions["TrainingProgressEvent"]
    assert {"iteration_speed", "progress_bar", "checkpoint_path", "gpu", "error_stack"} <= set(event["properties"])
    assert set(event["required"]) == {
        "job_id", "status", "stage", "step", "steps_total", "progress_pct", "message", "timestamp"
    }  # fmt: skip
    assert len(definitions["Stage"]["enum"]) == 12


@pytest.mark.parametrize("field", [{"stage": "napping"}, {"status": "done"}, {"step": -1}, {"job_id": "a/b"}])
def test_an_event_beside_the_schema_is_refused(field: dict[str, object]) -> None:
    record = {**json.loads(progress_line(1)), **field}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(record, progress.TrainingProgressEvent)


ENDS = ["finished", "failed", "killed"]


def test_a_status_goes_its_way_only() -> None:
    assert progress.legal(None, "failed") and progress.legal("queued", "running") and progress.legal("running", "running")
    assert all(progress.legal("running", end) and progress.legal("unknown", end) for end in ENDS)
    assert not progress.legal("running", "queued") and not progress.legal("queued", "finished")


@pytest.mark.parametrize("end", ENDS)
def test_an_ended_job_runs_again_only_where_it_resumed(end: str) -> None:
    assert not progress.legal(end, "running") and progress.legal(end, "running", resumed=True)
    others = {*ENDS, "queued", "lost", "unknown"} - {end}
    assert not any(progress.legal(end, other, resumed=True) for other in others)


def test_a_growing_file_is_read_as_it_grows(tmp_path: Path) -> None:
    with opened(tmp_path, step(1) + step(2)[:20]) as fd:
        first = jsonl.read(fd)
        assert (first.records, first.at_end, first.state.offset) == (1, True, len(step(1)))
        with open(tmp_path / "log.jsonl", "ab") as file:
            file.write(step(2)[20:])
        second = jsonl.read(fd, first.state)
        assert values(second) == [0.2]
        assert os.fstat(fd).st_size == second.state.offset
