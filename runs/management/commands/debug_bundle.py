"""manage.py debug_bundle: what one needs to find out what went wrong with a job, in one zip."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Q

from runs import audit, bundle, loglines, masks
from runs.models import Job
from runs.readers.naming import display


class Command(BaseCommand):
    """Exit codes: 0 written, 1 it could not be written, 2 no such job, or several."""

    help = "Write the debug bundle of a job: its log, state, samples and trainmon's own lines about it, without secrets."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("job", metavar="JOB", help="trainmon's number of the job, or the id its trainer gave it")
        parser.add_argument("--output", metavar="F", type=Path, help="the file to write (default: JOB_debug.zip here)")
        parser.add_argument("--show-error", action="store_true", help="print the first error of its log as well")

    def handle(self, *args: Any, **options: Any) -> None:
        job = self.find(options["job"])
        if options["show_error"]:
            self.show_error(job)
        target: Path = (options["output"] or Path(f"{bundle.name(job)}_debug.zip")).absolute()
        try:
            size = write(job, target)
        except OSError as error:
            raise CommandError(f"{target} was not written: {error.strerror or error}") from error
        audit.record(None, "download debug bundle", job, run=job.run_id)
        self.stdout.write(f"{target}: {size:,} bytes")

    def find(self, said: str) -> Job:
        """The one job of this number or id."""
        called = Q(external_id__in={said, masks.name(said)[:200]})
        if said.isascii() and said.isdigit() and len(said) < 19:
            called |= Q(pk=int(said))
        found = list(Job.objects.filter(called).select_related("run", "source__trainer")[:20]) if "\0" not in said else []
        if len(found) == 1:
            return found[0]
        if not found:
            raise CommandError(f"There is no job {display(masks.name(said).encode())}.", returncode=2)
        told = ", ".join(f"{job.pk} (trainer {job.source.trainer.slug}, run {display(job.run.name.encode())})" for job in found)
        raise CommandError(f"Several jobs are called so; name one by its number: {told}", returncode=2)

    def show_error(self, job: Job) -> None:
        """When, what, and its traceback; names and messages may hold terminal escapes."""
        first = next(iter(loglines.view(job, level="ERROR", limit=1).entries), None)
        if first is None and not job.error:
            self.stdout.write("No error is known of this job.")
            return
        told = [f"{first['timestamp']} {first['message']}"] if first else []
        told += [": ".join(filter(None, [job.error_type, job.error])), job.error_stack]
        for line in "\n".join(filter(None, told)).splitlines():
            self.stdout.write(display(line.encode()))


def write(job: Job, target: Path) -> int:
    """Under its name only when it is whole; nothing is overwritten."""
    part = target.with_name(f".{target.name}.part-{os.getpid()}")
    try:
        with part.open("xb") as file:
            for piece in bundle.pieces(job):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        os.link(part, target)
        return size
    finally:
        part.unlink(missing_ok=True)
