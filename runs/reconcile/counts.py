"""Which lines of a log are another line's repetition: their event was counted where it stood first."""

from __future__ import annotations

from collections.abc import Callable

from runs.models import EventId, LogFile


def counted_elsewhere(file: LogFile) -> Callable[[str, int], bool]:
    """Whether the event of a line, by its id and offset, counts at another line of the trainer's logs.

    An id that counts nowhere is no repetition: its line is compared, and found missing.
    """
    here = dict(EventId.objects.filter(log_file=file).values_list("event_id", "offset"))
    known = EventId.objects.filter(trainer=file.source.trainer_id)

    def elsewhere(event_id: str, offset: int) -> bool:
        if event_id in here:
            return here[event_id] != offset
        return known.filter(event_id=event_id).exists()

    return elsewhere
