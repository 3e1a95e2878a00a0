"""What a single event says, kept: points to the fold, all else to the block."""

from __future__ import annotations

from runs.readers import hparams, tensor, wire
from runs.readers.fold import Fold
from runs.readers.records import Blob, Damage, Text, TooMuch
from runs.readers.templates import Learned

TEXT_BYTES = 64 * 1024
_KINDS = {"images": "image", "histograms": "histogram", "audio": "audio"}


class Keeper:
    """Takes the records that no template knows, in file order."""

    def __init__(self, fold: Fold, learned: Learned, max_tags: int) -> None:
        self.fold, self.learned, self.max_tags = fold, learned, max_tags
        self.block, self.state = fold.block, fold.state

    def keep(self, payload: wire.Payload, offset: int, record: bytes = b"") -> int:
        """Keep a payload whose CRC is right; its template's number where it has one, else -1.

        ``record`` is the whole of it, to learn from.  Raises NotAnEvent, before anything of it
        is kept, and TooMuch.
        """
        size = len(payload) + 16
        event = wire.event(payload)
        numbers = [self._number(value, payload) for value in event.values]
        self.fold.good(offset)
        self.fold.clock(offset, event.wall)
        if event.what == "session":
            if wire.session_status(payload, event.start, event.stop) == 1:
                self.fold.session(offset)
        elif event.what in ("graph", "meta graph", "run metadata"):
            self._graph(event, payload, offset, size)
        for value, number in zip(event.values, numbers, strict=True):
            if value.plugin == "hparams":
                self._hparams(value, offset, size)
            elif value.form:
                self._value(value, number, event, payload, offset, size)
        tags = [self.state.tags.get(value.tag, -1) for value in event.values]
        return self.learned.learn(event, record, tags, numbers) if record else -1

    def _graph(self, event: wire.Event, payload: wire.Payload, offset: int, size: int) -> None:
        named = event.what == "run metadata"
        tag = wire.first_string(payload, event.start, event.stop) if named else ""
        self.block.blobs.append(Blob(tag, self.state.part, event.step, event.wall, event.what,
                                     "graphs", offset, size))

    def _number(self, value: wire.Value, payload: wire.Payload) -> tensor.Number | None:
        """The scalar in a value; None where it holds something else."""
        if value.plugin and value.tag not in self.state.plugins:
            self._plugin_found(value.tag, value.plugin)
        if value.form == "simple":
            return tensor.Number("<f4", payload[value.start : value.stop], value.start)
        plugin = self._plugin(value.tag)
        if value.form != "tensor" or plugin not in ("", "scalars"):
            return None
        return tensor.number(
            payload, value.start, value.stop, one_element=plugin == "scalars")

    def _plugin(self, tag: str) -> str:
        return self.state.plugins.get(tag) or self.learned.plugins.get(tag, "")

    def _plugin_found(self, tag: str, plugin: str) -> None:
        """A plugin's first word on a tag: templates may have taken its tensors otherwise."""
        known = len(self.state.plugins)
        if known >= 2 * self.max_tags:
            raise TooMuch(f"more than {known:,} tags in one event file (max_tags)")
        if tag in self.state.tags and self._plugin(tag) != plugin and plugin != "scalars":
            self.learned.forget()
        self.state.plugins[tag] = plugin

    def _tag(self, tag: str) -> int:
        """The tag's number; TooMuch where there are too many."""
        tags = self.state.tags
        if tag not in tags and len(tags) >= self.max_tags:
            raise TooMuch(f"more than {self.max_tags:,} tags in one event file (max_tags)")
        return tags.setdefault(tag, len(tags))

    def _value(
        self, value: wire.Value, number: tensor.Number | None, event: wire.Event,
        payload: wire.Payload, offset: int, size: int,
    ) -> None:
        tag = self._tag(value.tag)
        if number:
            self.fold.row(tag, offset, event.step, event.wall, number.dtype, number.raw)
            return
        plugin = self._plugin(value.tag)
        part = self.state.part
        if value.form == "tensor" and plugin == "text":
            said = tensor.strings(payload, value.start, value.stop, TEXT_BYTES)
            if said:
                self.block.texts.append(Text(
                    value.tag, part, event.step, event.wall, said[0], offset, said[1]))
                return
        kind = value.form if value.form != "tensor" else _KINDS.get(plugin, "tensor")
        self.block.blobs.append(
            Blob(value.tag, part, event.step, event.wall, kind, plugin, offset, size))

    def _hparams(self, value: wire.Value, offset: int, size: int) -> None:
        try:
            self.block.hparams += hparams.parse(value.content)
        except wire.NotAnEvent as error:
            self.block.damages.append(
                Damage(offset, size, "not a record", f"hparams: {error}"))
