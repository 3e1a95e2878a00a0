"""The Celery application: the broker and the schedule stand in settings.py; ids travel with the tasks."""

import logging
import os
import sys
from typing import Any

from celery import Celery, signals

from runs import correlation

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trainmon.settings")
if "celery" in sys.argv[0]:
    for what in {"worker", "beat"}.intersection(sys.argv):
        os.environ.setdefault("TRAINMON_SERVICE", what)

log = logging.getLogger(__name__)
app = Celery("trainmon")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

#: The message header of a task with the id of whoever queued it.
HEADER = "trainmon_correlation_id"


@signals.setup_logging.connect(weak=False)
def keep_our_logs(**_: Any) -> None:
    """Celery would replace what settings.LOGGING says."""


@signals.celeryd_init.connect(weak=False)
def say_it_by_the_log(**_: Any) -> None:
    """Celery tells of its end past all logging, in words that are no JSON."""
    from celery.apps import worker

    worker.safe_say = lambda *_, **__: None


@signals.worker_ready.connect(weak=False)
def beat_at_once(**_: Any) -> None:
    """Else nobody would know for half a minute that it runs, or for a minute go on with what was cut off."""
    for name in ("runs.tasks.heartbeat", "retention.tasks.heartbeat", "retention.tasks.tidy"):
        app.send_task(name, expires=30)


@signals.worker_shutting_down.connect(weak=False)
def log_the_end(how: str, **_: Any) -> None:
    """In its place."""
    log.info("%s shutdown", how, extra={"event": "worker.stopping"})


@signals.before_task_publish.connect(weak=False)
def send_along(headers: dict[str, Any], **_: Any) -> None:
    """What a request or a task queues belongs to it; what the clock queues begins anew."""
    headers[HEADER] = correlation.given() or correlation.fresh()


@signals.task_prerun.connect(weak=False)
def begin(task: Any, **_: Any) -> None:
    """Each task has its sender's id; called directly, it stays with its caller's."""
    if not task.request.is_eager:
        correlation.bind(correlation.taken(task.request.get(HEADER)))


@signals.task_postrun.connect(weak=False)
def end(task: Any, **_: Any) -> None:
    """The thread goes on to something else."""
    if not task.request.is_eager:
        correlation.bind("")
