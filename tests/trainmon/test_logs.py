"""Our own logs: every line is JSON of one schema, whatever was said, and holds no secret."""

from __future__ import annotations

import json
import logging
import socket
import sys
import warnings
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.conf import settings

from runs import correlation, redact
from trainmon.correlated import Correlated
from trainmon.logs import Collector, Formatter, Pulse, catch_all, configuration

FIELDS = ["timestamp", "level", "service", "logger", "message", "correlation_id"]


class Sink:
    """A service's stream, read back line by line."""

    def __init__(self, service: str = "web") -> None:
        self.stream = StringIO()
        self.log = logging.getLogger("tests.sink")
        self.handler = logging.StreamHandler(self.stream)
        self.handler.setFormatter(Formatter(service))

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line, parse_constant=lambda word: pytest.fail(word)) for line in self.stream.getvalue().splitlines()]


@pytest.fixture
def sink() -> Iterator[Sink]:
    sink = Sink()
    root, level = logging.getLogger(), logging.getLogger().level
    root.addHandler(sink.handler)
    root.setLevel("INFO")
    yield sink
    root.removeHandler(sink.handler)
    root.setLevel(level)


def test_a_record_has_the_fields_of_the_schema(sink: Sink) -> None:
    with correlation.bound("mine"):
        sink.log.info("%d runs", 3, extra={"event": "source.synced", "context": {"runs": 3}})
    (line,) = sink.lines()
    assert list(line) == [*FIELDS, "event", "context"]
    assert line | {"timestamp": ""} == {
        "timestamp": "", "level": "INFO", "service": "web", "logger": "tests.sink", "message": "3 runs",
        "correlation_id": "mine", "event": "source.synced", "context": {"runs": 3},
    }
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize("said", [
    "two\nlines\r\n", "\x00\x1b[31m\u2028\u2029", "lone \ud800", '"quoted" \\', "x" * 100_000, "%s %d", "٣ \u202e", "",
])
def test_whatever_is_said_is_one_line_that_parses(sink: Sink, said: str) -> None:
    odd = {said: said, "nan": float("nan"), "object": object(), "bytes": b"\xff", "deep": [[said]]}
    # past pytest's own handler: what that keeps, its workers could not pass on
    record = sink.log.makeRecord("tests.sink", logging.INFO, "", 0, said, (), None, extra={"context": odd})
    sink.handler.handle(record)
    assert len(sink.lines()) == 1


def test_a_record_that_cannot_be_rendered_says_so(sink: Sink) -> None:
    class Broken:
        def __str__(self) -> str:
            raise ValueError("no words")
    for text, value in (("%d", "three"), ("%s", Broken())):  # pytest's own handler would raise
        sink.handler.handle(logging.LogRecord("tests", logging.INFO, "", 0, text, (value,), None))
    assert ["could not be rendered" in line["message"] for line in sink.lines()] == [True, True]


def test_an_exception_keeps_its_traceback_and_loses_its_secrets(sink: Sink) -> None:
    try:
        raise RuntimeError("no way to postgresql://trainmon:hunter2x@db/trainmon with Authorization: Bearer abc.def123")
    except RuntimeError:
        sink.log.exception("failed at /x?token=s3cr3tvalue")
    (line,) = sink.lines()
    assert "test_logs.py" in line["exception"] and "RuntimeError" in line["exception"]
    assert not any(secret in json.dumps(line) for secret in ("hunter2x", "abc.def123", "s3cr3tvalue"))


def test_our_own_secrets_are_known_by_heart(sink: Sink) -> None:
    sink.log.info("the key is <%s>", settings.SECRET_KEY)
    assert settings.SECRET_KEY not in sink.stream.getvalue() and redact.MASK in sink.stream.getvalue()
    assert settings.SECRET_KEY not in redact.text(f"before{settings.SECRET_KEY}after")


def test_a_very_long_exception_keeps_its_end(sink: Sink) -> None:
    sink.log.error("x", exc_info=ValueError("a" * 100_000 + " the end"))
    (line,) = sink.lines()
    assert line["exception"].endswith("the end") and len(line["exception"]) <= 32_000
    sink.log.error("x", exc_info=ValueError("password=hunter2x" + " a" * 15_995))  # the cut falls between key and value
    assert "hunter2x" not in sink.stream.getvalue()


def test_people_at_a_terminal_read_words_that_steer_nothing() -> None:
    from trainmon.logs import _for_people
    line = {"level": "WARNING", "message": "run \x1b[2J here", "context": {"n": 1}}
    assert _for_people(None, "", line) == "warning: run \\x1b[2J here n=1"


def test_what_nobody_caught_becomes_a_line(sink: Sink, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr("threading.excepthook", None)
    catch_all()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("old ways", stacklevel=1)
            sys.excepthook(ValueError, ValueError("lost"), None)
    finally:
        logging.captureWarnings(False)
    assert [line["logger"] for line in sink.lines()] == ["py.warnings", "trainmon.uncaught"]


def test_commands_keep_their_output_clean_and_services_write_to_it() -> None:
    assert configuration("command", "")["handlers"]["ours"]["stream"] == "ext://sys.stderr"
    assert configuration("worker", "")["handlers"]["ours"]["stream"] == "ext://sys.stdout"
    assert configuration("worker", "")["root"]["level"] == "INFO"


async def talk(scope: dict[str, Any], answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every message that leaves an application which sends these."""
    async def application(scope: Any, receive: Any, send: Any) -> None:
        for answer in answers:
            await send(dict(answer))
    spoken = ApplicationCommunicator(Correlated(application), {"headers": [], "path": "/x", "client": ["10.0.0.1", 5], **scope})
    return [await spoken.receive_output() for _ in answers]


START = {"type": "http.response.start", "status": 200, "headers": []}


async def test_the_access_line_tells_the_request_without_its_secrets(sink: Sink) -> None:
    scope = {"type": "http", "method": "GET", "query_string": b"page=2&%74oken=s3cr3t&q=Bearer+abc.def123",
             "headers": [(b"x-correlation-id", b"mine"), (b"cookie", b"sessionid=s3cr3t")]}
    out = await talk(scope, [START, {"type": "http.response.body", "body": b"12345"}])
    assert (b"x-correlation-id", b"mine") in out[0]["headers"]
    (line,) = sink.lines()
    assert (line["event"], line["correlation_id"], line["logger"]) == ("http.request", "mine", "trainmon.access")
    context = line["context"]
    assert (context["status"], context["bytes"], context["client"], context["query"]["page"]) == (200, 5, "10.0.0.1", "2")
    assert "s3cr3t" not in json.dumps(line) and "abc.def123" not in json.dumps(line)


async def test_a_socket_has_an_id_from_its_opening_to_its_close(sink: Sink) -> None:
    out = await talk({"type": "websocket"}, [{"type": "websocket.accept"}, {"type": "websocket.close", "code": 4401}])
    name, value = out[0]["headers"][0]
    opened, closed = sink.lines()
    assert name == b"x-correlation-id" and value.decode() == opened["correlation_id"] == closed["correlation_id"]
    assert (opened["event"], closed["event"], closed["context"]["status"]) == ("socket.opened", "socket.closed", 4401)


async def test_the_application_sees_the_valid_id_alone(sink: Sink) -> None:
    seen: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        seen.extend(value for name, value in scope["headers"] if name == b"x-correlation-id")
        seen.append(correlation.current())
        await send(START)
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"x-correlation-id", b"no good")]}
    spoken = ApplicationCommunicator(Correlated(application), scope)
    out = await spoken.receive_output()
    assert len(seen) == 2 and seen[0].decode() == seen[1] == dict(out["headers"])[b"x-correlation-id"].decode() != "no good"


def test_a_collector_gets_every_line_and_may_be_away(tmp_path: Path) -> None:
    at = str(tmp_path / "log")
    made = logging.getLogger("tests.collected")
    handler = Collector(address=at)
    handler.setFormatter(Formatter("web", people=False))
    handler.emit(made.makeRecord("tests", logging.INFO, "", 0, "nobody listens yet", (), None))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listens:
        listens.bind(at)
        listens.settimeout(5)
        handler.emit(made.makeRecord("tests", logging.WARNING, "", 0, "password=hunter22", (), None))
        said = listens.recv(65536).decode().rstrip("\0")
        assert said.startswith("<12>trainmon: ")
        line = json.loads(said.partition(": ")[2])
        assert list(line) == FIELDS and line["message"] == "password=***REDACTED***"
        handler.emit(made.makeRecord("tests", logging.WARNING, "", 0, "x" * 7000 + "y" * 300_000, (), None))
    handler.emit(made.makeRecord("tests", logging.INFO, "", 0, "nobody listens any more", (), None))
    handler.close()


def test_where_the_collector_is_must_be_understood() -> None:
    assert configuration("web", "", "[::1]:514")["handlers"]["collector"]["address"] == ("::1", 514)
    assert "collector" in configuration("web", "", "/dev/log")["root"]["handlers"]
    for wrong in ("localhost", "localhost:x", ":514", "h:70000"):
        with pytest.raises(ValueError, match="neither"):
            configuration("web", "", wrong)


@pytest.mark.parametrize(("level", "task", "kept"), [
    (logging.INFO, "runs.tasks.heartbeat", False), (logging.ERROR, "runs.tasks.heartbeat", True),
    (logging.INFO, "runs.tasks.sync_all", True),
])
def test_a_heartbeat_is_told_only_where_it_fails(level: int, task: str, kept: bool) -> None:
    said = logging.LogRecord("celery.app.trace", level, "", 0, "Task %(name)s ended", ({"name": task},), None)
    assert Pulse().filter(said) is kept
