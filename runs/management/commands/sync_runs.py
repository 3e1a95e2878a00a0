"""manage.py sync_runs: find every run on the sources and bring the registry up to date."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import sys
import time
from argparse import ArgumentParser
from typing import Any, NoReturn

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError
from django.db.models import QuerySet

from runs.follow import Follower
from runs.lease import Busy
from runs.models import Source
from runs.progress import Bar, table
from runs.readers.naming import display
from runs.scan import Failed, Options, Synced
from runs.sources import register
from runs.sync import sync

#: Seconds to wait for another sync of the same source before giving up.
PATIENCE = 600.0

log = logging.getLogger(__name__)


class Command(BaseCommand):
    """Exit codes: 0 all well, 1 something damaged or unreadable (named), 2 bad arguments."""

    help = "Find every run below the sources and bring the registry up to date."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("paths", nargs="*", metavar="SLUG=PATH",
                            help="folders of logs, registered first; SLUG names the trainer (default: the folder's name)")
        parser.add_argument("--trainer", metavar="SLUG", help="only the sources of this trainer")
        parser.add_argument("--source", metavar="ID", type=int, help="only this source")
        parser.add_argument("--full", action="store_true", help="read every file again from its start")
        parser.add_argument("--dry-run", action="store_true", help="say what a sync would do, write nothing")
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        parser.add_argument("--workers", metavar="N", type=int, default=min(2, os.cpu_count() or 1),
                            help="processes that read files (default %(default)s)")
        parser.add_argument("--confirm-loss", action="store_true",
                            help="the runs that vanished from an empty or exchanged root are really gone")

        parser.add_argument("--watch", action="store_true",
                            help="follow the sources for ever: read what grows as it grows, until SIGTERM or Ctrl-C")
        parser.add_argument("--poll", action="store_true", help="with --watch: look each second, without inotify")

    def handle(self, *args: Any, **options: Any) -> None:
        if not 1 <= options["workers"] <= 64:
            self.refuse(f"--workers {options['workers']}: use a number from 1 to 64")
        if options["confirm_loss"] and options["dry_run"]:
            self.refuse("--confirm-loss with --dry-run: a dry run writes nothing, so it cannot confirm a loss")
        if options["poll"] and not options["watch"]:
            self.refuse("--poll belongs to --watch")
        for name in ("full", "dry_run", "json", "confirm_loss") if options["watch"] else ():
            if options[name]:
                self.refuse(f"--watch with --{name.replace('_', '-')}: it follows until it is stopped")
        try:
            self.follow(options) if options["watch"] else self.sync_all(options)
        except OperationalError as error:
            raise CommandError(f"the database failed: {error}".strip()) from error

    def sync_all(self, options: dict[str, Any]) -> None:
        """Sync what the options name; exit 1 where something needs a look."""
        sources = self.sources(options)
        if options["confirm_loss"]:
            Source.objects.filter(pk__in=[s.pk for s in sources]).update(loss_confirmed=True)
        how = Options(full=options["full"], dry_run=options["dry_run"], workers=options["workers"])
        began = time.monotonic()
        outcomes = [self.sync(source, how, quiet=options["json"]) for source in sources]
        if options["json"]:
            self.stdout.write(json.dumps(as_json(outcomes, time.monotonic() - began), indent=2))
        else:
            self.summarize(outcomes)
        if any(isinstance(one, Failed) or one.problems for one in outcomes):
            sys.exit(1)

    def follow(self, options: dict[str, Any]) -> None:
        """Follow what the options name, sources that come later too; ends when it is asked to."""
        named = self.named(options)
        follower = Follower(lambda: self.chosen(named, options).filter(enabled=True), poll=options["poll"])
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: follower.stop.set())
        log.info("Following %d sources", self.chosen(named, options).count(), extra={"event": "follower.started"})
        follower.run()

    def named(self, options: dict[str, Any]) -> list[Source]:
        """The sources that the arguments name, registered."""
        try:
            return [register(one, dry_run=options["dry_run"]) for one in options["paths"]]
        except ValidationError as error:
            self.refuse(" ".join(error.messages))

    def chosen(self, named: list[Source], options: dict[str, Any]) -> QuerySet[Source]:
        """The named sources, else the enabled ones; less those that options leave out."""
        chosen = Source.objects.select_related("trainer")
        chosen = chosen.filter(pk__in=[source.pk for source in named]) if named else chosen.filter(enabled=True)
        if options["trainer"]:
            chosen = chosen.filter(trainer__slug=options["trainer"])
        if options["source"] is not None:
            chosen = chosen.filter(pk=options["source"])
        return chosen

    def sources(self, options: dict[str, Any]) -> list[Source]:
        """The sources that the arguments name; all enabled ones without arguments."""
        found = list(self.chosen(self.named(options), options))
        if not found and (options["trainer"] or options["source"] is not None):
            known = ", ".join(f"{s.trainer.slug} (source {s.pk})" for s in Source.objects.select_related("trainer"))
            self.refuse(f"no such source; there are: {known or 'none'}")
        if not found:
            self.refuse("no sources yet: name a folder, e.g. manage.py sync_runs lora=/volume/tensorboard")
        return found

    def refuse(self, why: str) -> NoReturn:
        """Bad arguments: exit 2."""
        raise CommandError(why, returncode=2)

    def sync(self, source: Source, how: Options, *, quiet: bool) -> Synced | Failed:
        """Sync one source; wait for another sync that holds it, then do ours."""
        deadline = time.monotonic() + PATIENCE
        with Bar(str(source), quiet=quiet) as bar:
            while isinstance(outcome := sync(source.pk, how, isolate="fork", report=bar.show), Busy):
                bar.wait(outcome.holder)
                if time.monotonic() > deadline:
                    return Failed(source.pk, str(source), f"still being synced by {outcome.holder}")
                time.sleep(0.2)
        return outcome

    def summarize(self, outcomes: list[Synced | Failed]) -> None:
        """The table of what was done, and under it what needs a look."""
        table([one for one in outcomes if isinstance(one, Synced)], self.stdout)
        for one in outcomes:
            if isinstance(one, Failed):
                self.stderr.write(self.style.ERROR(f"{one.source}: {one.error}"))
                continue
            # file names may hold terminal escapes
            for problem in one.problems:
                self.stderr.write(self.style.ERROR(f"{one.source}: {display(problem.encode())}"))
            for note in one.notes:
                self.stderr.write(f"{one.source}: {display(note.encode())}")


def as_json(outcomes: list[Synced | Failed], seconds: float) -> dict[str, Any]:
    """One object: the sources with their counts, and their totals."""
    synced = [one for one in outcomes if isinstance(one, Synced)]
    names = ["runs", "new", "grown", "unchanged", "moved", "missing", "damaged", "bytes_read", "records", "points"]
    return {
        "sources": [dataclasses.asdict(one) | {"ok": isinstance(one, Synced)} for one in outcomes],
        "total": {name: sum(getattr(one, name) for one in synced) for name in names},
        "seconds": round(seconds, 3),
        "ok": len(synced) == len(outcomes) and not any(one.problems for one in synced),
    }
