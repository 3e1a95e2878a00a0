"""The lines of a job's log: all kept, once, redacted; found by level, event and text; downloaded as they were."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runs import logchunks, loglines, redact
from runs.models import Job, LogChunk, LogFile
from runs.readers.records import Lines
from tests.runs.trees import settle, synced

pytestmark = pytest.mark.django_db


def record(step: int, **more: object) -> str:
    fields = {"step": step, "total_steps": 10_000, "loss": 1 / (step + 1)}
    return json.dumps({
        "ts": f"2026-01-02T03:04:{step % 60:02d}Z", "level": "DEBUG", "job_id": "train-1", "msg": f"Step {step}",
        "event": "training.step", "fields": fields, **more}) + "\n"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Where a job's log may be written below a root of its own."""
    path = tmp_path / "root" / "logs" / "train-1.jsonl"
    path.parent.mkdir(parents=True)
    return path


def put(log: Path, text: str, mode: str = "a") -> None:
    with log.open(mode) as file:
        file.write(text)
    settle(log.parent)
    assert synced(log.parent.parent).problems == []


def downloaded() -> str:
    return b"".join(loglines.download(Job.objects.get())).decode()


def test_a_download_is_the_log_whatever_the_amounts_it_grew_by(log):
    whole, at = [record(step) for step in range(5000)], 0
    for amount in (1, 3, 60, 1, 1, 64, 65, 999, 1, 1000, 1001, 5, 60, 200, 1300):
        put(log, "".join(whole[at : at + amount]))
        at += amount
        assert downloaded() == "".join(whole[:at])
    chunks = list(LogChunk.objects.order_by("start").values_list("start", "count"))
    assert [start for start, _ in chunks] == [sum(n for _, n in chunks[:k]) for k in range(len(chunks))]
    assert len(chunks) <= 10 and max(count for _, count in chunks) <= 1000
    assert Job.objects.get().line_count == at


def test_filters_come_before_paging_and_tail_reads_from_the_end(log):
    lines = [record(step) for step in range(2500)]
    for step in (5, 700, 2400):
        lines[step] = record(step, level="WARN", event="disk.full", msg=f"Nearly full at {step}")
    put(log, "".join(lines))
    job = Job.objects.get()
    page = loglines.view(job, level="warning", limit=2)
    assert ([e["line"] for e in page.entries], page.total, page.has_more) == ([6, 701], 3, True)
    page = loglines.view(job, event="disk.full", limit=2, tail=True)
    assert ([e["message"] for e in page.entries], page.has_more) == (["Nearly full at 700", "Nearly full at 2400"], True)
    page = loglines.view(job, search="nearly FULL", offset=1, limit=5)
    assert ([e["line"] for e in page.entries], page.total, page.has_more) == ([701, 2401], 3, False)
    page = loglines.view(job, search="nearly", level="DEBUG")
    assert (page.entries, page.total) == ([], 0)
    page = loglines.view(job, limit=3, tail=True)
    assert ([e["line"] for e in page.entries], page.total) == ([2498, 2499, 2500], 2500)
    assert [e["line"] for e in loglines.lines(job, 2498, 9999)] == [2499, 2500]


def test_lines_are_found_by_the_type_of_the_error_that_they_tell(log):
    told = {"level": "ERROR", "event": "training.failed", "fields": {"error_type": "HubError", "error": "no answer"}}
    put(log, record(1, msg="HubError is a word here") + record(2, **told) + record(3, **told, msg="again"))
    job = Job.objects.get()
    lines = [loglines.view(job, error_type="huberror", **more) for more in ({}, {"search": "AGAIN"}, {"limit": 1, "tail": True})]
    assert [([one["line"] for one in page.entries], page.total) for page in lines] == [([2, 3], 2), ([3], 1), ([3], 2)]
    assert loglines.view(job, error_type="Hub").total == loglines.view(job, error_type="HubError", level="INFO").total == 0


def test_entries_have_the_same_shape_in_both_schemas(log):
    put(log, record(1) + json.dumps({
        "timestamp": 1767323045.5, "level": "warn", "service": "worker", "logger": "x", "message": "slow",
        "context": {"seconds": 3}}) + "\n")
    first, second = loglines.view(Job.objects.get()).entries
    assert first["timestamp"] == "2026-01-02T03:04:01.000Z" and first["fields"]["step"] == 1
    assert second == {"line": 2, "timestamp": "2026-01-02T03:04:05.500Z", "level": "WARNING", "message": "slow",
                      "event": "", "fields": {"seconds": 3}}


def test_a_line_without_a_job_belongs_to_the_file_and_a_damaged_one_stays_with_its_neighbour(log):
    put(log, record(1))
    with log.open("ab") as file:
        file.write(b'not json \x00\xff\n{"loss": NaN, "text": "\x01", "lone": "\\ud800"}\n' + record(2).encode())
    settle(log.parent)
    synced(log.parent.parent)
    entries = loglines.view(Job.objects.get()).entries
    assert [e["line"] for e in entries] == [1, 2, 3, 4]
    assert entries[1]["message"] == "not json \\x00\ufffd"
    for raw in downloaded().splitlines():
        assert isinstance(json.loads(raw), dict)


def test_secrets_are_masked_in_every_line_and_clean_lines_stay_as_written(log):
    odd = '{"ts":"2026-01-02T03:04:05Z",  "level":"INFO", "msg":"caf\\u00e9 disk-usage 3/4", "job_id":"train-1"}\n'
    put(log, odd + record(1, msg='ran "x" with token=abcdef123456 and hf_abcdefgh12345678') + record(
        2, fields={"step": 2, "config": {"nested": {"API_KEY": "AAAA"}, "max_tokens": 12}})
        + record(3, msg="x").replace('"msg"', '"msg": "password=hunter2", "msg"'))  # of equal keys the last one counts
    lines = downloaded().splitlines(keepends=True)
    assert lines[0] == odd
    assert not any(secret in "".join(lines) for secret in ("abcdef123456", "hf_abc", "AAAA", "hunter2"))
    assert json.loads(lines[2])["fields"]["config"]["max_tokens"] == 12
    assert loglines.view(Job.objects.get(), search="CAFÉ").total == 1


def test_reading_again_keeps_each_line_once_and_a_replaced_log_shows_its_new_lines(log):
    put(log, "".join(record(step) for step in range(1500)))
    assert synced(log.parent.parent, full=True).problems == []
    job, file = Job.objects.get(), LogFile.objects.get()
    assert (file.generation, job.line_count, loglines.view(job).total) == (0, 1500, 1500)
    put(log, record(1, msg="anew"), "w")
    job.refresh_from_db()
    assert (job.line_count, loglines.view(job).entries[0]["message"]) == (1, "anew")
    assert set(LogChunk.objects.values_list("generation", flat=True)) == {0, 1}


def test_lines_of_several_jobs_in_one_file_are_kept_by_job(log):
    put(log, "".join(record(step, job_id=f"train-{step % 3}") for step in range(300)))
    assert {job.external_id: job.line_count for job in Job.objects.all()} == {"train-0": 100, "train-1": 100, "train-2": 100}


def test_a_line_of_sixteen_megabytes_is_kept_in_short(log):
    put(log, record(1) + record(2, msg="x" * 10_000_000))
    assert sum(len(chunk.data) for chunk in LogChunk.objects.all()) < 100_000
    assert loglines.view(Job.objects.get()).total == 2
    assert len(downloaded()) < 300_000


def test_a_search_ends_in_time_and_says_that_it_is_not_complete(log, monkeypatch):
    put(log, "".join(record(step) for step in range(2000)))
    monkeypatch.setattr(loglines, "SEARCH_SECONDS", -1.0)
    page = loglines.view(Job.objects.get(), search="step")
    assert (page.complete, page.has_more) == (False, True)


def test_a_page_of_a_hundred_thousand_lines_opens_only_what_it_shows(log, django_assert_num_queries):
    put(log, "".join(record(step) for step in range(20_000)))
    job = Job.objects.get()
    with django_assert_num_queries(2):
        page = loglines.view(job, level="DEBUG", event="training.step", offset=15_500, limit=100)
    assert (page.total, page.entries[0]["line"]) == (20_000, 15_501)
    # a log may name another event in each line: a page that asks for none does not read them all
    with django_assert_num_queries(2) as asked:
        assert loglines.lines(job, 19_999, 20_001)[0]["line"] == 20_000
    assert not [query for query in asked.captured_queries if '"levels"' in query["sql"]]


PIECES = st.sampled_from([
    "hf_", "sk-", "AKIA", "eyJ", "token", "TOKEN=", "pass", "word", "api", "_", "-", "key", ":", "=", " ", "https://", "u:p@h",
    "Bearer ", "a1B2c3D4e5F6g7H8", "/home/x/", "C:\\Users\\y\\", "r8_", "1234567890", "secret", "cookie", "disk-usage", "é",
    "\n", '"', "session_id", "clientSecret", "x-api-key", "xoxb-", "AIza", "-----BEGIN PRIVATE KEY-----", "Basic ", "sig", "jwt",
    "pwd", "auth", "tokens_per_second", "max_tokens", "name", "value",
])
WORDS = st.lists(PIECES | st.text(st.characters(codec="utf-8"), max_size=4), max_size=6).map("".join)


VALUES = st.recursive(
    WORDS | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3), max_leaves=6)


@settings(max_examples=500, deadline=None)
@given(VALUES, st.booleans())
def test_a_line_that_is_passed_as_harmless_holds_no_secret(value, ascii_only):
    raw = json.dumps({"msg": "m", "fields": value}, ensure_ascii=ascii_only).encode()
    lines = Lines([raw], [None], [""], [""])
    logchunks.clean(lines)
    assert json.loads(lines.raws[0]) == redact.value(json.loads(raw))
