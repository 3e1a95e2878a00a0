"""`manage.py validate_logs` names each line that is wrong and why, and repeats no secret."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from runs.wellformed import LEVELS, SERVICES, reasons
from trainmon import logs

OURS = {"timestamp": "2026-01-02T03:04:05.123456Z", "level": "INFO", "service": "web", "logger": "trainmon.access",
        "message": "GET / 200", "correlation_id": "mine", "event": "http.request", "context": {"status": 200}}
JOB = {"ts": "2026-01-02T03:04:05.123Z", "level": "WARN", "service": "worker", "job_id": "j", "msg": "m", "fields": {"step": 1}}


def why(line: object) -> list[str]:
    return list(reasons(line if isinstance(line, bytes) else json.dumps(line).encode()))


@pytest.mark.parametrize("line", [OURS, JOB, {"timestamp": "2026-01-02T03:04:05+00:00", "level": "debug", "message": "m"}])
def test_good_lines_of_each_schema_pass(line: dict[str, object]) -> None:
    assert why(line) == []


@pytest.mark.parametrize(("line", "reason"), [
    (b"Traceback (most recent call last):\n", "not JSON"),
    (b'{"level": NaN}', "not JSON: NaN is no JSON number"),
    (b"\xff\xfe", "not UTF-8"),
    (b"[" * 100_000, "nested too deeply"),
    (b"x" * (17 << 20), "longer than 16 MiB"),
    ([1], "not a JSON object"),
    ({key: value for key, value in OURS.items() if key != "correlation_id"}, "correlation_id is missing"),
    (OURS | {"level": "TRACE"}, "level is none of"),
    (OURS | {"level": 3}, "level is no str"),
    (OURS | {"service": "api"}, "service is none of"),
    (OURS | {"timestamp": "yesterday"}, "timestamp is no ISO 8601 time"),
    (OURS | {"timestamp": "2026-01-02T03:04:05"}, "timestamp is no ISO 8601 time with a zone"),
    (OURS | {"correlation_id": "a b"}, "correlation_id is not of"),
    (OURS | {"context": "x"}, "context is no dict"),
    (OURS | {"pid": 4}, "unknown fields: pid"),
    (OURS | {"message": "token=abcdef123456"}, "a secret in message"),
    (OURS | {"context": {"a": [{"password": "x"}]}}, "a secret in context.a[0].password"),
    (JOB | {"ts": 5}, "ts is no str"),
    ({"ts": JOB["ts"], "level": "INFO"}, "msg is missing"),
    (JOB | {"fields": {"hub": "hf_abcdef123456"}}, "a secret in fields.hub"),
], ids=range(20))  # fmt: skip
def test_a_wrong_line_has_its_reason(line: object, reason: str) -> None:
    found = why(line)
    assert len(found) == 1 and found[0].startswith(reason), found
    assert "abcdef" not in found[0]


def test_the_words_are_those_that_our_logs_use() -> None:
    assert set(logs.LEVELS) == LEVELS and set(logs.SERVICES) == SERVICES


def test_the_command_names_file_and_line_and_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = json.dumps(OURS) + "\n", json.dumps(OURS | {"message": "hf_abcdef123456"}) + "\n"
    (tmp_path / "web.log").write_text(good + bad + good)
    (tmp_path / "job.jsonl").write_text(json.dumps(JOB) + "\n")
    with pytest.raises(SystemExit) as end:
        call_command("validate_logs", str(tmp_path))
    said = capsys.readouterr().out
    assert end.value.code == 1
    assert f"{tmp_path}/web.log:2: a secret in message" in said and "4 lines, 1 of them wrong" in said
    assert "abcdef" not in said


def test_the_command_ends_well_and_with_2_for_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "web.log").write_text(json.dumps(OURS) + "\n")
    call_command("validate_logs", str(tmp_path / "web.log"))
    with pytest.raises(CommandError) as error:
        call_command("validate_logs", str(tmp_path / "none.log"))
    assert error.value.returncode == 2
