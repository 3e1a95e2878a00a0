"""An event file read with TensorBoard's classes: points, parts, texts, references, damage."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from runs.reconcile import messages
from runs.reconcile.framing import Lost, Record, Walk
from runs.reconcile.reference import PartFound, Reference, SampleFound, TextFound

#: A part begins where a step falls below the smallest of so many of its tag.
WINDOW = 64
MOST_PARTS = 1_000
SESSION_START = 1
KINDS = {"images": "image", "audio": "audio"}
FORMS = {"image": "image", "audio": "audio"}


@dataclass(slots=True)
class EventFile:
    """Reads the records of a walk into a reference.

    ``plugins`` is tag -> plugin as the run's files that were read before say; ``own`` is this
    file's own word, which goes first.
    """

    found: Reference
    plugins: dict[str, str] = field(default_factory=dict)
    own: dict[str, str] = field(default_factory=dict)
    order: dict[str, int] = field(default_factory=dict)
    windows: dict[str, deque[int]] = field(default_factory=dict)
    said: bool = False

    def read(self, walk: Walk) -> None:
        """All records of the walk."""
        found = self.found
        for one in walk:
            if isinstance(one, Lost):
                found.lose(one)
                continue
            event = messages.event(one.payload)
            if event is None:
                found.lose(Lost(one.offset, one.length, "not a record"))
                continue
            self._record(one, event)
            found.pass_on_when_full()

    def _record(self, record: Record, event: Any) -> None:
        found = self.found
        found.records += 1
        if not found.parts:
            found.parts.append(PartFound(0, "start", record.offset))
        what = event.WhichOneof("what")
        if what == "session_log":
            if event.session_log.status == SESSION_START and self.said:
                self._begin_part("session", record.offset)
        elif what == "summary":
            self._summary(record, event)

    def _summary(self, record: Record, event: Any) -> None:
        step, wall, found = event.step, event.wall_time, self.found
        kept = [(value, messages.tag(value.tag)) for value in event.summary.value]
        numbers = [self._number(value, tag) for value, tag in kept]
        scalars, others = [], []
        for (value, tag), number in zip(kept, numbers, strict=True):
            plugin = value.metadata.plugin_data
            if messages.text(plugin.plugin_name) == "hparams":
                self._hparams(record, plugin.content)
            elif value.WhichOneof("value"):
                self.order.setdefault(tag, len(self.order))
                if number is None:
                    others.append((value, tag))
                else:
                    scalars.append((tag, number))
        self._cut_where_steps_fall(step, [tag for tag, _ in scalars], record.offset)
        part = len(found.parts) - 1
        for tag, (dtype, raw) in scalars:
            found.point(tag, part, step, wall, dtype, raw)
            window = self.windows.get(tag)
            if window is None:
                window = self.windows[tag] = deque(maxlen=WINDOW)
            window.append(step)
            self.said = True
        for value, tag in others:
            self._other(value, tag, record, event)

    def _number(self, value: Any, tag: str) -> messages.Scalar | None:
        """The scalar in a value; its plugin is remembered on the way."""
        if value.HasField("metadata"):
            plugin = messages.text(value.metadata.plugin_data.plugin_name)
            if plugin:
                self.own.setdefault(tag, plugin)
        form = value.WhichOneof("value")
        if form == "simple_value":
            return messages.simple(value)
        plugin = self._plugin(tag)
        if form != "tensor" or plugin not in ("", "scalars"):
            return None
        return messages.scalar(value.tensor, one_element=plugin == "scalars")

    def _plugin(self, tag: str) -> str:
        return self.own.get(tag) or self.plugins.get(tag, "")

    def _cut_where_steps_fall(self, step: int, tags: list[str], offset: int) -> None:
        fallen = []
        for tag in tags:
            window = self.windows.get(tag)
            if window and step < window[-1] and step < (before := min(window)):
                fallen.append((self.order[tag], tag, before))
        if fallen:
            _, tag, before = min(fallen)
            self._begin_part(f"steps went back: {tag[:80]} at step {step}, before {before}", offset)

    def _begin_part(self, reason: str, offset: int) -> None:
        if len(self.found.parts) < MOST_PARTS:
            self.found.parts.append(PartFound(len(self.found.parts), reason, offset))
            self.windows, self.said = {}, False

    def _other(self, value: Any, tag: str, record: Record, event: Any) -> None:
        """A text, or a payload that stays on disk."""
        found, part, plugin, form = self.found, len(self.found.parts) - 1, self._plugin(tag), value.WhichOneof("value")
        self.said = self.said or plugin != "graphs"
        if form == "tensor" and plugin == "text" and (texts := messages.strings(value.tensor)) is not None:
            self.said = True
            found.texts.append(TextFound(tag, part, event.step, event.wall_time, record.offset, texts))
            found.held_bytes += sum(map(len, texts))
            return
        kind = KINDS.get(plugin) if form == "tensor" else FORMS.get(form)
        if kind:
            found.samples.append(
                SampleFound(tag, part, event.step, event.wall_time, record.offset, record.length, kind))
            found.held_bytes += 200

    def _hparams(self, record: Record, content: bytes) -> None:
        values = messages.hparams(content)
        if values is None:
            self.found.lose(Lost(record.offset, record.length, "not a record"))
        elif values:
            self.found.hparams.append(values)
