"""Whether archives can be made now: asked before anybody is promised that a run goes, and answered within seconds."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime
from threading import Thread

from django.conf import settings
from django.utils.timezone import now

from retention import destinations, files, plan
from retention.candidates import Candidate
from runs.models import Heartbeat, Source
from runs.models.heartbeat import LATE
from runs.streamed import let_go

#: Seconds that storage may take to answer.
PATIENCE = 3.0
#: The words with which a run stays, and what may be done about it.
SAID = "cannot be archived: "
WAY_OUT = "Mend that, or set TRAINMON_ARCHIVE to a place that takes archives; or do without one:"

_asked: tuple[str, Future[None]] | None = None


def here() -> str:
    """Why this process could make no archive now; empty where it could."""
    try:
        _ask()
    except files.Refused as why:
        return str(why)
    return ""


def there() -> str:
    """Why the janitor could make none: by its last word, and by what is seen from here, whoever may write there."""
    beat = Heartbeat.objects.filter(service="janitor", at__gt=now() - LATE).first()
    if beat is not None and beat.trouble:
        return beat.trouble
    try:
        _ask()
    except destinations.Denied as why:  # to us, who make none
        return "" if beat is not None else str(why)
    except files.Refused as why:
        return str(why)
    return ""


def looking(options: plan.Options, look: plan.Look = plan.look, trouble: Callable[[], str] = here) -> plan.Look:
    """How a run is looked at that is to be archived first: it stays where that could not be done."""
    known: list[str] = []

    def looked(candidate: Candidate, at: datetime) -> plan.Seen:
        if options.archive and not known:
            known.append(trouble())
        if options.archive and known[0]:
            raise files.Refused(SAID + known[0])
        return look(candidate, at)

    return looked


def trouble_of(made: plan.Draft) -> str:
    """Why none of a draft could be archived; empty where that was not what stopped it."""
    return next((one.refusal.removeprefix(SAID) for one in made.staying if one.refusal.startswith(SAID)), "")


def _ask() -> None:
    """Refused where no archive can be made; one thread waits for storage that hangs, whoever asks meanwhile is told so."""
    global _asked
    to, roots = destinations.at(settings.TRAINMON_ARCHIVE), list(Source.objects.values_list("root", flat=True))
    let_go()
    last = _asked
    asked = last[1] if last and last[0] == to.url and not last[1].done() else Future[None]()
    if not last or asked is not last[1]:
        _asked = to.url, asked
        # no pool: at its end a process waits for the threads of one
        Thread(target=_answer, args=(asked, to, roots), daemon=True).start()
    try:
        asked.result(PATIENCE)
    except TimeoutError:
        raise files.Unreachable(f"{to.url} does not answer within {PATIENCE:g} s") from None


def _answer(asked: Future[None], to: destinations.Destination, roots: list[str]) -> None:
    try:
        to.refuse_within(roots)
        asked.set_result(to.ready())
    except Exception as error:
        asked.set_exception(error)
