"""Runs compared with their files."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from runs import identity, redact
from runs.models import LogFile, Run, Sample, Segment, Series, TextSummary
from runs.readers import confined
from runs.readers.plain import plain, plain_json
from runs.reconcile.counts import counted_elsewhere
from runs.reconcile.events import EventFile
from runs.reconcile.framing import Walk
from runs.reconcile.lines import JobLog, whole_lines
from runs.reconcile.outcome import Compared, Difference, Note, same, shown
from runs.reconcile.points import NOTHING, PointComparison, Tell
from runs.reconcile.reference import Reference
from runs.reconcile.stored import StoredFile
from runs.reconcile.summary import Totals

TRIES = 3
#: What a file's texts and references are stored up to.
TEXTS_KEPT, SAMPLES_KEPT = 10_000, 100_000
SUMMARY = ("count", "first_step", "minimum", "maximum", "nonfinite")


def compare(run_id: int) -> Compared:
    """One run beside its files; once more where a sync changed it meanwhile."""
    for _ in range(TRIES):
        run = Run.objects.select_related("source").get(pk=run_id)
        compared = _Run(run).compare()
        if not compared.found or not Run.objects.filter(pk=run_id).exclude(version=run.version).exists():
            return compared
    return Compared(runs=1, notes=[Note(run_id, run.path_text, "cannot be compared", "it is being synced all the time")])


@dataclass(slots=True)
class _Run:
    """A run, and what its files add up to."""

    run: Run
    compared: Compared = field(default_factory=lambda: Compared(runs=1))
    totals: dict[str, Totals] = field(default_factory=dict)
    plugins: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    hparams: dict[str, list[Any]] = field(default_factory=dict)
    complete: bool = True

    def compare(self) -> Compared:
        series = {one.tag.name: one for one in Series.objects.filter(run=self.run).select_related("tag")}
        for file in LogFile.objects.filter(run=self.run).order_by("path"):
            stored = StoredFile(file, series)
            stored.load()
            points = PointComparison(stored, self.totals, partial(self._tell, file))
            why = self._file(file, points)
            if why is not None:
                self.compared.notes.append(Note(self.run.pk, file.path_text, *why))
                points.take_stored()
                self.complete = False
            self.complete = self.complete and not file.generation
        self._summaries(series)
        self._hparams()
        return self.compared

    def _tell(self, file: LogFile | None, what: str, ours: str, theirs: str, **where: Any) -> None:
        self.compared.tell(Difference(
            self.run.pk, self.run.name, what, ours, theirs, file=file.path_text if file else "", **where))

    def _file(self, file: LogFile, points: PointComparison) -> tuple[str, str] | None:
        """Compare a file; where that is impossible, why."""
        if file.generation != file.reading:
            return "changed since the last sync", "its new content is not read to its end"
        try:
            with confined.opened(self.run.source.root, bytes(file.path)) as fd:
                seen = identity.of(fd)
                if not identity.continues(fd, seen, file):
                    return "changed since the last sync", ""
                self._open_file(file, fd, seen, points)
        except OSError as error:
            return "cannot be compared", error.strerror or str(error)
        if seen.size > file.offset:
            self.compared.notes.append(
                Note(self.run.pk, file.path_text, "not yet synced", f"{seen.size - file.offset:,} bytes"))
        return None

    def _open_file(self, file: LogFile, fd: int, seen: identity.Seen, points: PointComparison) -> None:
        if file.kind == LogFile.Kind.TEXT:
            self.compared.notes.append(Note(self.run.pk, file.path_text, "not compared", "a text log has no second reader"))
            points.take_stored()
            return
        beside = _Beside(file, points.tell)

        def full(found: Reference) -> None:
            points.compare(found)
            beside.compare(found)

        found = Reference(full)
        if file.kind == LogFile.Kind.EVENTS:
            self._events(file, fd, seen, found, points.tell)
        else:
            JobLog(found, counted_elsewhere(file)).read(fd, file.offset)
            if _was_whole(file, seen) and any(True for _ in whole_lines(fd, file.offset, file.size)):
                points.tell("a complete line", "not read", f"at byte {file.offset:,}")
        found.pass_on()
        count = points.finish()
        beside.finish(found, count)
        self.compared.files += 1
        self.compared.points += count
        self.compared.records += found.records
        self.compared.texts += beside.texts
        self.compared.samples += beside.samples
        for values in found.hparams:
            for key, value in values.items():
                self.hparams.setdefault(key, []).append(value)

    def _events(self, file: LogFile, fd: int, seen: identity.Seen, found: Reference, tell: Tell) -> None:
        known = self.plugins.setdefault((file.kind, file.prefix), {})
        reader = EventFile(found, plugins=dict(known))
        walk = Walk(fd, seen.size, file.offset)
        reader.read(walk)
        known.update(reader.own)
        if walk.lost_from < 0 and walk.offset != file.offset:
            tell("read up to byte", f"{file.offset:,}", f"{walk.offset:,}")
        pending = (walk.lost_from, walk.lost_kind) if walk.lost_from >= 0 else None
        ours = (file.pending["offset"], file.pending["kind"]) if file.pending else None
        if ours != pending:
            tell("where lost bytes begin", shown(ours), shown(pending))
        if _was_whole(file, seen):
            rest = Walk(fd, file.size, file.size, file.offset, walk.lost_from, walk.lost_kind)
            if (one := next(iter(rest), None)) is not None:
                tell("a complete record", "not read", f"at byte {one.offset:,}")

    def _summaries(self, series: dict[str, Series]) -> None:
        for tag, one in series.items():
            totals = self.totals.pop(tag, Totals())
            for name in SUMMARY:
                if getattr(one, name) != getattr(totals, name):
                    self._tell(None, f"the series' {name}", shown(getattr(one, name)), shown(getattr(totals, name)), tag=tag)
            newest = totals.newest() if totals.lasts else [None]
            if not any(_is_last(one, last) for last in newest):
                ours = one.last_wall, one.last_step, one.last
                self._tell(None, "the series' last wall time, step and value", shown(ours), shown(newest[0]), tag=tag)
        count = sum(one.count for one in series.values())
        if self.run.point_count != count:
            self._tell(None, "the run's point count", f"{self.run.point_count:,}", f"{count:,}")

    def _hparams(self) -> None:
        """Parameters as the last session says; of files that say otherwise any may have come last."""
        ours = self.run.param_sources.get("hparams", {})
        last = {key: values[-1] for key, values in self.hparams.items()}
        theirs = plain_json(redact.value(last))
        if ours == theirs:
            return
        for key in sorted({*ours, *theirs}):
            name = next((name for name in last if plain(redact.text(name)) == key), None)
            said = [] if name is None else [
                plain_json(redact.value({**last, name: value})).get(key) for value in self.hparams[name]]
            if key not in ours or said and ours[key] not in said or not said and self.complete:
                self._tell(None, "a hyperparameter", shown(ours.get(key, NOTHING)), shown(theirs.get(key, NOTHING)), tag=key)


@dataclass(slots=True)
class _Beside:
    """A file's texts, references, segments and damage."""

    file: LogFile
    tell: Tell
    texts: int = 0
    samples: int = 0

    def compare(self, found: Reference) -> None:
        """The texts and references that the reference holds now."""
        where = {"log_file": self.file, "generation": self.file.generation}
        room = max(0, TEXTS_KEPT - self.texts)
        rows = TextSummary.objects.filter(**where).order_by("offset", "id")[self.texts : self.texts + len(found.texts)]
        for ours, text in zip([*rows, *[None] * len(found.texts)], found.texts[:room], strict=False):
            right = [plain(redact.text(one)) for one in text.texts]
            self._row(ours, "a text", text, text.offset, text=right[0] if ours is None or ours.text not in right else ours.text)
        self.texts += min(room, len(found.texts))
        room = max(0, SAMPLES_KEPT - self.samples)
        mine = Sample.objects.filter(**where, length__gt=0).order_by("offset", "id")
        references = mine[self.samples : self.samples + len(found.samples)]
        for reference, sample in zip([*references, *[None] * len(found.samples)], found.samples[:room], strict=False):
            self._row(reference, "a reference", sample, sample.offset, length=sample.length, kind=sample.kind)
        self.samples += min(room, len(found.samples))

    def _row(self, ours: Any, what: str, found: Any, offset: int, **more: Any) -> None:
        tag = plain(redact.text(self.file.prefix + found.tag))
        if ours is None:
            self.tell(what, NOTHING, f"at byte {offset:,}", tag=tag, part=found.part)
            return
        right = {"tag": tag, "part": found.part, "step": found.step, "wall": found.wall, "offset": offset, **more}
        for name, value in right.items():
            if not same(mine := getattr(ours, name), value):
                self.tell(f"{what}'s {name}", shown(mine), shown(value), tag=tag, part=found.part)

    def finish(self, found: Reference, points: int) -> None:
        """What only the whole file tells."""
        file, where = self.file, {"log_file": self.file, "generation": self.file.generation}
        counts = {
            "texts": (TextSummary.objects.filter(**where).count(), self.texts),
            "references": (Sample.objects.filter(**where, length__gt=0).count(), self.samples),
            "records": (file.records, found.records),
            "points of the file": (file.points, points),
            "damaged records": (file.bad_records, found.bad_records),
            "lost bytes": (file.lost_bytes, found.lost_bytes),
            "where it is damaged": (
                [(one["offset"], one["length"], one["kind"]) for one in file.damages],
                [(one.offset, one.length, one.kind) for one in found.lost]),
        }
        for what, (ours, theirs) in counts.items():
            if ours != theirs:
                self.tell(what, shown(ours), shown(theirs))
        self._segments(found)

    def _segments(self, found: Reference) -> None:
        rows = Segment.objects.filter(log_file=self.file, generation=self.file.generation)
        ours = {row.part: (row.reason, row.offset, row.first_step, row.last_step, row.first_wall, row.last_wall)
                for row in rows}
        theirs = {part.number: (plain(part.reason), part.offset, *(part.steps or (None, None)), *(part.walls or (None, None)))
                  for part in found.parts}
        for number in sorted({*ours, *theirs}):
            if ours.get(number) != theirs.get(number):
                self.tell("a segment", shown(ours.get(number)), shown(theirs.get(number)), part=number)


def _was_whole(file: LogFile, seen: identity.Seen) -> bool:
    """Whether the last sync says that it read the file, as it is there, to its end."""
    filled_since = seen.size == file.size and file.mtime_ns not in (0, seen.mtime_ns)
    return not file.error and 0 <= file.size <= seen.size and not filled_since


def _is_last(one: Series, last: tuple[float, int, float] | None) -> bool:
    if last is None:
        return (one.last_wall, one.last_step, one.last) == (None, None, None)
    wall, step, value = last
    # NaN means an unknown time: none is stored
    ours = one.last_wall if one.last_wall is not None else float("nan")
    return same_number(ours, wall) and one.last_step == step and one.last is not None and same_number(one.last, value)


def same_number(ours: float, theirs: float) -> bool:
    """Equality where one NaN is as good as another."""
    return ours == theirs or (ours != ours and theirs != theirs)
