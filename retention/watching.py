"""Whether anybody still writes to what lies in the trash: told while the run can be brought back, not when it is to be purged."""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import datetime, timedelta

from django.db.models import F, Q

from retention import files, graves
from retention.models import PlannedRun, Tombstone

log = logging.getLogger(__name__)

#: Whoever writes has the files open when they are buried: that is seen in the next minutes.
FRESH = timedelta(minutes=5)
#: Changed files that are named.
NAMED = 100


def grown(tomb: Tombstone) -> list[str]:
    """What changed in a grave, for people; Refused where that cannot be told."""
    return [files.shown(entry.path) for entry in graves.grown(tomb.source.root, tomb.grave, tomb.digest)][:NAMED]


def watch(at: datetime) -> None:
    """Each minute: look at what has just come there, and at a sixtieth of the rest, so that each grave has its turn each hour."""
    lying = Tombstone.objects.lying().filter(planned__step=PlannedRun.Step.BURIED)
    turn = lying.annotate(minute=F("pk") % 60).filter(Q(minute=at.minute) | Q(buried_at__gt=at - FRESH)).order_by("pk")
    for tomb in turn.select_related("source").defer("source__verdicts", "source__fingerprint"):
        with suppress(files.Refused, OSError):
            _tell(tomb, grown(tomb))


def _tell(tomb: Tombstone, grew: list[str]) -> None:
    if grew == tomb.grew:
        return
    Tombstone.objects.lying().filter(pk=tomb.pk).update(grew=grew)
    context = {"run": tomb.run_id, "grave": tomb.grave, "files": len(grew)}
    log.warning("Somebody still writes to a run in the trash.", extra={"event": "cleanup.grew", "context": context})
