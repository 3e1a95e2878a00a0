"""What a trainer prints: its standard output or log in plain text, read as lines of a job's log.

Lines end with a newline or a carriage return; what a bar overwrites moves the job and is not kept.  A traceback is one
entry, from its first line to that of its exception; while it has no end it waits, up to ``TRACE_LINES``.  So is a private
key: its lines by themselves would not be told as secret.  Steps never go back but where the training begins anew: at
step 0 or 1, after an error, or where two lines in a row count on from lower down.  A line without a time has that of the
line before.
"""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from typing import Any

import msgspec

from runs.readers import joblog, jsonl, plain
from runs.readers.jobfold import Fold, Job
from runs.readers.joblog import Entry
from runs.readers.records import BLOCK_BYTES, Block, Damage, Lines, Part
from runs.readers.remembered import dumped, loaded
from runs.readers.spoken import Line, plainly, spoken

LINE_BYTES = 1024 * 1024
PEEK_BYTES = 64 * 1024
TRACE_LINES, TRACE_BYTES = 500, 256 * 1024
#: Lines of its head that must show a training's progress, that a file by itself is a run.
PROGRESS_LINES = 3
MAX_FIGURES = 500
#: Steps are counted in 64 bits.
COUNTER_END = 2**63
#: Errors of a file that change its job; the others are lines like any.
MAX_ERRORS = 1_000
_FORMAT = 1
_TRACEBACK = "Traceback (most recent call last):"
_KEY, _KEY_END = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY"), "-----END "
#: A line of a key in PEM: base64, or a header.
_OF_KEY = re.compile(r"\s*(?:[A-Za-z0-9+/]{1,80}={0,2}|[A-Za-z-]{1,40}: .*|-----END .*)?\s*")
_RAISED = re.compile(r"([A-Za-z_][\w.]{0,200}): ?(.*)|([A-Za-z_][\w.]{0,200}(?:Error|Exception|Interrupt|Exit))$", re.DOTALL)
_ERROR = re.compile(
    r"CUDA out of memory|OutOfMemoryError|CUDA error|NCCL error|Segmentation fault|No space left on device|"
    r"^(?:[\w.]{1,100}\.)?\w{0,100}(?:Error|Exception)(?::|$)|^(?:error|fatal)[:\s]|^Killed$", re.IGNORECASE)
_FALCON = re.compile(r"falcon launch (completed|interrupted|failed)(?: \((.*)\))?")
_FALCON_WORDS = {"completed": "job.completed", "interrupted": "job.cancelled", "failed": "job.failed"}
_ENDS = re.compile(rb"\r\n|\n|\r")


class State(msgspec.Struct):
    """Where the reader goes on: the start of a line, or of a traceback without an end.

    ``step`` and ``total`` are the training's, ``lap`` how often its bar began anew; ``back`` is a lower step that
    was seen once; ``broken`` says that an error came since the last step.
    """

    format: int = _FORMAT
    offset: int = 0
    part: int = 0
    started: bool = False
    lost_from: int = -1
    jobs: dict[str, Job] = {}
    at: float | None = None
    step: int | None = None
    total: int | None = None
    bar: float = 0
    bar_total: float = 0
    lap: int = 0
    epochs: int | None = None
    steps_said: bool = False
    back: int | None = None
    broken: bool = False
    figures: list[str] = []
    errors: int = 0
    first_epoch: int = 1

    def copy(self) -> State:
        jobs = {name: job.copy() for name, job in self.jobs.items()}
        return msgspec.structs.replace(self, jobs=jobs, figures=list(self.figures))

    def dump(self) -> bytes:
        """A few hundred bytes."""
        return dumped(self)

    @classmethod
    def load(cls, dump: bytes) -> State:
        """ValueError where ``dump`` is none of ours: the caller reads from 0 again."""
        return loaded(dump, cls, _FORMAT, 1 << 24)


def peek(fd: int) -> tuple[bool, bool]:
    """Whether a file is text, and whether its head shows the progress of a training: steps that rise, and a loss."""
    head = os.pread(fd, PEEK_BYTES, 0)
    if b"\0" in head or head.startswith(b'{"'):
        return False, False
    lines = [spoken(plainly(line.decode("utf-8", "replace"))) for line in _ENDS.split(head)]
    moving = [line for line in lines if line.figures and (line.step is not None or line.epoch is not None or line.bar)]
    places = [line.step if line.step is not None else line.bar.current if line.bar else line.epoch or 0 for line in moving]
    losses = sum(any("loss" in name.lower() for name in line.figures) for line in lines)
    return True, min(len(set(places)), losses) >= PROGRESS_LINES


def read(fd: int, state: State | None = None, *, limit: int = BLOCK_BYTES) -> Block:
    """The lines from ``state`` on: about ``limit`` bytes of them, at least one whole line or traceback."""
    state = state.copy() if state else State()
    block, begin = Block(state), state.offset
    if state.lost_from >= 0:
        jsonl.pass_over(fd, state, block, limit, _ENDS)
    else:
        _read_some(fd, state, block, max(limit, 1))
    if state.lost_from >= 0:
        block.pending = Damage(state.lost_from, state.offset - state.lost_from, "too large")
    block.bytes_read = state.offset - begin
    return block


def _read_some(fd: int, state: State, block: Block, limit: int) -> None:
    asked = limit
    while True:
        data = jsonl.bytes_at(fd, state.offset, asked)
        block.at_end = len(data) < asked
        # a carriage return at the end may yet be followed by a newline
        whole = len(data) - data.endswith(b"\r")
        end = max(data.rfind(b"\n", 0, whole), data.rfind(b"\r", 0, whole)) + 1
        reader = _Reader(state, block)
        used = reader.read(data[:end]) if end else 0
        if used or block.at_end:
            break
        if len(data) > LINE_BYTES:
            state.lost_from, used = state.offset, len(data)
            break
        asked = min(max(2 * asked, 4096), LINE_BYTES + 1)
    if reader.fold is not None:
        reader.fold.finish()
        state.part = reader.fold.part
    state.offset += used


class _Reader:
    """Reads whole lines; ``read`` answers how many bytes of them it has taken."""

    def __init__(self, state: State, block: Block) -> None:
        self.state, self.block = state, block
        self.fold: Fold | None = None

    def read(self, data: bytes) -> int:
        start, trace, trace_from = 0, list[str](), 0
        self.fold = Fold(self.state.jobs, self.state.part, self.block)
        for found in _ENDS.finditer(data):
            raw, ended, at = data[start : found.start()], found[0] != b"\r", start
            start = found.end()
            if len(raw) > LINE_BYTES:  # as where it was read before its end had come
                self.block.damages.append(Damage(self.state.offset + at, len(raw) + 1, "too large"))
                continue
            if not raw.strip() and not trace:
                continue
            text = plainly(raw.decode("utf-8", "replace"))
            if trace and _KEY.search(trace[0]) and not _of_key(text):  # only its name was said
                self._line("\n".join(trace), self.state.offset + trace_from, True)
                trace = []
            if trace:
                trace.append(text)
                ends = _KEY_END in text if _KEY.search(trace[0]) else self._ends(text)
                if not ends and len(trace) < TRACE_LINES and start - trace_from < TRACE_BYTES:
                    continue
                self._trace(trace, self.state.offset + trace_from)
                trace = []
            elif _TRACEBACK in text or _KEY.search(text) and _KEY_END not in text:
                trace, trace_from = [text], at
            else:
                self._line(text, self.state.offset + at, ended)
        return trace_from if trace else start

    @staticmethod
    def _ends(text: str) -> bool:
        """Whether a line is the last one of a traceback: that of its exception, which is not indented."""
        message = _message(text)
        return bool(message) and not message[0].isspace() and not message.startswith(_TRACEBACK)

    def _trace(self, lines: list[str], offset: int) -> None:
        """A traceback, as one entry; so is a key, which only as a whole is known to be a secret."""
        if _KEY.search(lines[0]):
            self._line("\n".join(lines), offset, True)
            return
        line = spoken(lines[0])
        messages = [_message(text) for text in lines]
        raised = _RAISED.match(messages[-1].strip())
        kind = (raised[1] or raised[3]) if raised else ""
        fields = {"error": messages[-1].strip()[:2000], "error_type": kind.rpartition(".")[2][:200],
                  "error_stack": "\n".join(messages)}
        self.state.broken = True
        self._tell(Line(fields["error_stack"], line.at, "ERROR"), "log.traceback", fields, offset)

    def _line(self, text: str, offset: int, ended: bool) -> None:
        line = spoken(text)
        if line.progresses:
            self._progress(line, offset, ended)
            return
        if not ended and not line.message.strip():
            return
        if (falcon := _FALCON.search(line.message)) is not None:
            fields = {"error": falcon[2], "error_type": falcon[2].partition(":")[0]} if falcon[2] else {}
            self._tell(line, _FALCON_WORDS[falcon[1]], fields, offset)
        elif self._is_error(line):
            self.state.broken = True
            line.level = line.level if line.level in joblog.ERRORS else "ERROR"
            self._tell(line, "log.error", {}, offset)
        else:
            self._tell(line, "", {}, offset)

    @staticmethod
    def _is_error(line: Line) -> bool:
        if line.level in ("CRITICAL", "FATAL") or (line.level == "ERROR" and line.at is None):
            return True
        return _ERROR.search(line.message[:2000].lstrip()) is not None

    def _progress(self, line: Line, offset: int, ended: bool) -> None:
        """A line that says how far the training is: a step of the job, and its bars."""
        fields: dict[str, Any] = {}
        step = self._step(line)
        if step is not None:
            fields["step"] = step
        if self.state.total is not None:
            fields["total_steps"] = self.state.total
        if line.epoch is not None:
            fields["epoch"] = line.epoch
        if line.speed is not None:
            fields["iteration_speed"] = line.speed
        if (bar := line.bar) is not None:
            fields["progress_bar"] = {
                "id": bar.label or bar.kind, "type": bar.kind, "label": bar.label, "current": bar.current, "total": bar.total}
        counts = step is not None or line.step is None and (line.bar is None or not line.bar.steps)
        fields |= {name: value for name, value in line.figures.items() if counts and self._known(name)}
        moves = step is not None or any(name in fields for name in line.figures)
        if line.level not in joblog.ERRORS:
            self.state.broken = False
        self._tell(line, "training.step" if moves else "", fields, offset, keep=ended)

    def _known(self, name: str) -> bool:
        known = self.state.figures
        if name not in known and len(known) < MAX_FIGURES:
            known.append(name)
        return name in known

    # Steps that never go back

    def _step(self, line: Line) -> int | None:
        """The training's step after a line; None where the line says none, or one that does not count."""
        state = self.state
        state.epochs = line.epochs or state.epochs
        if line.step is not None:
            return self._stands_at(line.step, line.total, said=True)
        if line.bar is not None:
            return self._bar(line) if line.bar.steps and not state.steps_said else None
        if line.epoch is not None and line.figures and not state.steps_said and not state.bar_total:
            return self._stands_at(int(line.epoch), line.epochs, said=False)
        return None

    def _bar(self, line: Line) -> int | None:
        """The step of a bar; one that began anew after its end, or is an epoch's, counts on."""
        bar, state = line.bar, self.state
        assert bar is not None
        if bar.total >= 2**53 or (bar.total != state.bar_total and not self._is_main(bar.total)):
            return None  # another one, beside the training's
        laps = state.epochs
        if bar.epoch is not None:
            state.first_epoch = min(state.first_epoch, bar.epoch)
            state.lap = max(0, bar.epoch - state.first_epoch)
        else:
            state.lap += bar.current < state.bar and state.bar >= state.bar_total
            laps = max(state.epochs or 1, state.lap + 1)
        state.bar = bar.current
        total = None if laps is None else int(bar.total) * laps
        return self._stands_at(int(bar.current) + state.lap * int(bar.total), total, said=False)

    def _is_main(self, total: float) -> bool:
        """Whether a bar of another length is the training's from here on."""
        state = self.state
        if not state.broken and (total < state.bar_total or state.bar_total and state.figures):
            return False
        if not state.figures:
            state.step = None
        state.bar_total, state.bar, state.lap, state.total = total, 0, 0, None
        return True

    def _stands_at(self, step: int, total: int | None, *, said: bool) -> int | None:
        """Take a step, unless it goes back without the training having begun anew, or no counter reaches it."""
        state = self.state
        if step >= COUNTER_END:
            return None
        total = total if total is not None and total < COUNTER_END else None
        if said and total is not None and state.total is not None and total < state.total and step < (state.step or 0) \
                and not state.broken:
            return None  # of an evaluation within the training
        state.steps_said = state.steps_said or said
        if state.step is not None and step < state.step:
            again = state.back is not None and step > state.back
            if step > 1 and not state.broken and not again:
                state.back = step
                return None
            self._begin_anew()
        state.back = None
        state.step = step
        state.total = total if total is not None else state.total
        return step

    def _begin_anew(self) -> None:
        assert self.fold is not None
        self.state.step = self.state.back = None
        self.anew = True

    anew = False

    # What is handed on

    def _tell(self, line: Line, event: str, fields: dict[str, Any], offset: int, *, keep: bool = True) -> None:
        """Hand a line on as that of a job's log, and keep it."""
        state, block = self.state, self.block
        assert self.fold is not None
        if not state.started:
            state.started = True
            block.parts.append(Part(0, "start", offset))
        state.at = line.at if line.at is not None else state.at
        level = line.level or "INFO"
        if self.anew:
            self.anew = False
            self.fold.line(Entry(state.at, "INFO", "training.start", "the training begins anew", "", {}, {}, "text"), offset)
        block.records += 1
        message = plain.text(line.message)
        # a line of the level ERROR may be no more than a warning on stderr: it is one by what it says
        heard = level if event.startswith(("log.", "job.")) and state.errors < MAX_ERRORS else "INFO"
        state.errors += heard in joblog.ERRORS
        self.fold.line(Entry(state.at, heard, event, message, "", fields, {}, "text"), offset)
        if keep:
            record = {"level": level, "msg": message}
            if line.at is not None:
                record = {"ts": datetime.fromtimestamp(line.at, UTC).isoformat(timespec="milliseconds"), **record}
            if event and event != "training.step":
                record["event"] = event
            lines = block.lines.setdefault("", Lines())
            lines.add(msgspec.json.encode(record), state.at, level, record.get("event", ""))


def _of_key(text: str) -> bool:
    return len(text) < 1000 and _OF_KEY.fullmatch(_message(text)) is not None


def _message(text: str) -> str:
    """A line without its time and level, its indentation kept."""
    return spoken(text).message if text[:1] in "[0123456789" else text
