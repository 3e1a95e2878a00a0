"""Our own logs: a JSON object a line, and words for people at a terminal; no secret in either.

structlog renders what Django, daphne, Celery and our modules say through ``logging``.  A record's
``extra`` may name an ``event`` and a ``context`` (a dict).  structlog is loaded with the first record: most
commands say nothing.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from datetime import UTC, datetime
from functools import cached_property
from logging.handlers import SysLogHandler
from typing import Any

from runs import correlation, redact
from runs.readers.plain import plain, plain_json

COMMAND = "command"
SERVICES = ("web", "worker", "janitor", "beat", "follower", "tensorboards", COMMAND)
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
#: What some readers take for the end of a line, though JSON does not.
BREAKS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}
#: Longer messages are cut at their end, longer exceptions at their begin.
LONGEST_MESSAGE, LONGEST_EXCEPTION = 8_000, 32_000


def configuration(service: str, level: str, collector: str = "") -> dict[str, Any]:
    """Django's LOGGING: everything to one stream.  Services write to standard output, commands keep it clean.

    A ``collector`` (host:port, or the path of a socket) gets the same lines by syslog.
    """
    address = collector if collector.startswith("/") else _host_and_port(collector) if collector else None
    passed_on = {"handlers": [], "propagate": True, "level": "NOTSET"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "ours": {"()": "trainmon.logs.Formatter", "service": service},
            "lines": {"()": "trainmon.logs.Formatter", "service": service, "people": False},
        },
        "filters": {"pulse": {"()": "trainmon.logs.Pulse"}},
        "handlers": {
            "ours": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.stderr" if service == COMMAND else "ext://sys.stdout",
                "formatter": "ours",
            },
        } | ({"collector": {"()": "trainmon.logs.Collector", "address": address, "formatter": "lines"}} if address else {}),
        "root": {
            "handlers": ["ours", *(["collector"] if address else [])],
            "level": level or ("WARNING" if service == COMMAND else "INFO"),
        },
        "loggers": {
            "django": passed_on,
            "django.server": passed_on,
            # a 404 is in the access line; an error of ours comes with its exception
            "django.request": passed_on | {"level": "ERROR"},
            # a variable that a page lacks is told with all that the page has, a new token's secret too
            "django.template": {"level": "INFO"},
            "axes": {"level": "WARNING"},
            # twice a half minute, for ever, that all is well
            "celery.app.trace": passed_on | {"filters": ["pulse"]},
            "celery.beat": passed_on | {"filters": ["pulse"]},
            # said by its end, too, which has the id of whoever asked
            "celery.worker.strategy": passed_on | {"level": "WARNING"},
        },
    }


def _host_and_port(said: str) -> tuple[str, int]:
    """ValueError for what is none."""
    host, _, port = said.rpartition(":")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{said!r} is neither host:port nor the path of a socket")
    return host.strip("[]"), int(port)


class Pulse(logging.Filter):
    """Heartbeats are seen at /readyz, and the janitor tells itself what it did: a line only of one that failed."""

    SILENT = ("runs.tasks.heartbeat", "retention.tasks.heartbeat", "retention.tasks.tidy")

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is kept."""
        return record.levelno > logging.INFO or not any(name in record.getMessage() for name in self.SILENT)


class Collector(SysLogHandler):
    """Datagrams to a syslog daemon, or to what speaks its protocol (Vector, Promtail, the OpenTelemetry Collector).

    A datagram waits for nobody: where nothing listens, or a line is too long for one, it is lost; the stream has it.
    """

    ident = "trainmon: "

    def createSocket(self) -> None:
        """None yet where nothing listens: the next line tries again."""
        try:
            super().createSocket()
        except OSError:
            return

    def emit(self, record: logging.LogRecord) -> None:
        """Send it, or forget it."""
        try:
            super().emit(record)
        except Exception:  # the stream has it
            return

    def handleError(self, record: logging.LogRecord) -> None:
        """Said nowhere: it would be said again for each line."""


class Formatter(logging.Formatter):
    """Renders a record, whatever is in it: a line that cannot be made says so.  ``people``: words where it is a terminal."""

    def __init__(self, service: str = COMMAND, *, people: bool = True) -> None:
        super().__init__()
        self.service, self.people = service, people

    @cached_property
    def rendered(self) -> logging.Formatter:
        """structlog's own formatter with our processors."""
        import structlog

        people = self.people and (sys.stderr if self.service == COMMAND else sys.stdout).isatty()
        renderer: Any = _for_people if people else _json
        return structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.format_exc_info,
            ],
            processors=[self.shaped, renderer],
        )

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        try:
            return self.rendered.format(record)
        except Exception as error:  # a log must not fail whoever writes to it
            said = {"_record": record, "event": f"{record.msg!r} could not be rendered: {type(error).__name__}: {error}"}
            return _json(None, "", self.shaped(None, "", said))

    def shaped(self, _: object, __: str, said: Any) -> dict[str, Any]:
        """The schema's fields in their order; whoever renders them cleans them."""
        record: logging.LogRecord = said["_record"]
        line: dict[str, Any] = {
            "timestamp": said.get("timestamp") or datetime.now(UTC).isoformat(),
            "level": record.levelname if record.levelname in LEVELS else "INFO",
            "service": self.service,
            "logger": record.name,
            "message": str(said["event"])[:LONGEST_MESSAGE],
            "correlation_id": correlation.current(),
        }
        for name in ("event", "context"):
            if (extra := record.__dict__.get(name)) is not None:
                line[name] = _values(extra)
        if exception := said.get("exception"):
            # cleaned, then cut: half a secret, or one without its key, would not be told
            line["exception"] = redact.text(exception[-2 * LONGEST_EXCEPTION:])[-LONGEST_EXCEPTION:]
        return line


def _values(value: Any, depth: int = 0) -> Any:
    """What JSON can say of it."""
    if isinstance(value, dict) and depth < 10:
        return {str(key): _values(one, depth + 1) for key, one in value.items()}
    if isinstance(value, list | tuple | set) and depth < 10:
        return [_values(one, depth + 1) for one in value]
    return value if isinstance(value, str | int | float | None) else str(value)


def _json(_: object, __: str, line: Any) -> str:
    said = _dumped(line)
    # most lines hold nothing that looks like a secret, which is seen in a thirtieth of the time
    return _dumped(redact.value(line)) if redact.may_hold(said.encode(errors="replace")) else said


def _dumped(line: Any) -> str:
    return json.dumps(plain_json(line), ensure_ascii=False).translate(BREAKS)


def _for_people(_: object, __: str, line: Any) -> str:
    """Words on a terminal, without what could steer it."""
    line = redact.value(line)
    context = "".join(f" {name}={value}" for name, value in line.get("context", {}).items())
    text = f"{line['level'].lower()}: {line['message']}{context}"
    shown = "\n".join(filter(None, [text, line.get("exception", "")]))
    return "".join(sign if sign.isprintable() or sign == "\n" else repr(sign)[1:-1] for sign in plain(shown))


def catch_all() -> None:
    """In a service: what nobody caught becomes a line as well, and so do warnings."""
    log = logging.getLogger("trainmon.uncaught")

    def uncaught(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            log.critical("Nobody caught %s", kind.__name__, exc_info=(kind, error, trace))

    def in_thread(said: threading.ExceptHookArgs) -> None:
        if said.exc_value is not None and said.exc_type is not SystemExit:
            uncaught(said.exc_type, said.exc_value, said.exc_traceback)

    sys.excepthook = uncaught
    threading.excepthook = in_thread
    logging.captureWarnings(True)
