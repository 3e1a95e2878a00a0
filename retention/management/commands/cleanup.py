"""manage.py cleanup: which runs could go, which were chosen, and what deleting them would mean."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from datetime import datetime, timedelta
from typing import Any, NoReturn

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils.timezone import now

from retention import console, plan
from retention.candidates import Candidate, candidates
from retention.selection import Invalid, age, by_number, select
from runs.models import Run, Trainer
from runs.status import duration


class Command(BaseCommand):
    """Exit codes: 0 all well, 2 bad arguments."""

    help = "List runs, oldest first, and say what deleting those that are selected would mean."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--trainer", metavar="SLUG", default="all", help="only the runs of this trainer (default: all)")
        parser.add_argument("--select", metavar="EXPR", help='numbers of the list: "0 2 5", "0-5", mixed; or all, or old')
        parser.add_argument("--older-than", metavar="AGE", help="only runs of which nothing came for so long: 12h, 7d, 2w")
        parser.add_argument("--dry-run", action="store_true", help="say what would be done and do nothing")
        parser.add_argument("--no-archive", action="store_false", dest="archive", help="delete without an archive")
        parser.add_argument("--archive", action="store_true", default=True, help="archive and check first (the default)")
        parser.add_argument("--grace", metavar="AGE", help="how long runs stay in the trash (default: TRAINMON_CLEANUP_GRACE)")
        parser.add_argument("--force", action="store_true", help="pinned and bookmarked runs, too")
        parser.add_argument("--json", action="store_true", help="one JSON object on standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        """List, then plan what was selected."""
        at = now()
        rows, than = self.listed(options, at)
        said = self.said(options)
        if not options["json"]:
            self.show_list(rows, options)
        if said is None or not rows:
            return self.tell_json(options, {"runs": [as_json(row, at) for row in rows]})
        chosen = self.chosen(said, rows, than, at)
        if not chosen:
            self.say(options, "Nothing is selected.")
            return self.tell_json(options, {"runs": [], "going": [], "staying": []})
        draft = plan.draft(chosen, self.manner(options), at)
        self.show_plan(draft, options)
        self.say(options, "Nothing was deleted.")
        self.tell_json(options, planned(draft, at) | {"dry_run": True})

    def listed(self, options: dict[str, Any], at: datetime) -> tuple[list[Candidate], timedelta]:
        """The runs to choose from, and the age from which one is old."""
        runs = Run.objects.active().filter(files_missing=False)
        if options["trainer"] != "all":
            if not Trainer.objects.filter(slug=options["trainer"]).exists():
                known = ", ".join(Trainer.objects.values_list("slug", flat=True)) or "none"
                self.refuse(f"There is no trainer {console.cell(options['trainer']).plain}; there are: {known}.")
            runs = runs.filter(source__trainer__slug=options["trainer"])
        rows = candidates(runs)
        if options["older_than"] is None:
            return rows, timedelta(days=settings.TRAINMON_OLD_DAYS)
        than = self.aged(options["older_than"])
        return [row for row in rows if row.is_older(than, at)], than

    def said(self, options: dict[str, Any]) -> str | None:
        """The selection in words; None where nobody made one."""
        if options["select"] is None and options["older_than"] is not None:
            return "old"
        return options["select"]

    def chosen(self, said: str, rows: list[Candidate], than: timedelta, at: datetime) -> list[tuple[Candidate, str]]:
        """The selected runs, each with the reason."""
        old = {number for number, row in enumerate(rows) if row.is_older(than, at)}
        try:
            numbers = select(said, len(rows), old)
        except Invalid as error:
            self.refuse(f"Nothing was selected. {error}")
        named = by_number(said)
        return [(rows[number], "selected by number" if named else _reason(said, rows[number], at)) for number in numbers]

    def manner(self, options: dict[str, Any]) -> plan.Options:
        """How it is to be done."""
        grace = timedelta(days=settings.TRAINMON_CLEANUP_GRACE) if options["grace"] is None else self.aged(options["grace"])
        return plan.Options(options["archive"], grace, options["force"])

    def aged(self, said: str) -> timedelta:
        """A duration from an argument."""
        try:
            return age(said)
        except Invalid as error:
            self.refuse(str(error))

    def show_list(self, rows: list[Candidate], options: dict[str, Any]) -> None:
        """The numbered list."""
        if not rows:
            older = f" older than {options['older_than']}" if options["older_than"] else ""
            return self.say(options, f"There are no runs{older}: nothing to clean up.")
        console.out(self.stdout).print(console.runs(rows, now()))

    def show_plan(self, draft: plan.Draft, options: dict[str, Any]) -> None:
        """What would go and what must stay."""
        if options["json"]:
            return
        screen = console.out(self.stdout)
        if draft.staying:
            screen.print(console.staying(draft))
        if draft.going:
            screen.print(console.going(draft))
            saved = console.dollars(draft.total("frees"))
            self.stdout.write(f"They are {console.manner(draft)}. Then they are purged: {saved} saved.")
        else:
            self.stdout.write("None of the selected runs may go.")

    def say(self, options: dict[str, Any], words: str) -> None:
        """Words for people; JSON has its own."""
        if not options["json"]:
            self.stdout.write(words)

    def tell_json(self, options: dict[str, Any], told: dict[str, Any]) -> None:
        """The one object for scripts."""
        if options["json"]:
            self.stdout.write(json.dumps(told, indent=1))

    def refuse(self, why: str) -> NoReturn:
        """Bad arguments: exit 2."""
        raise CommandError(why, returncode=2)


def as_json(row: Candidate, at: datetime) -> dict[str, Any]:
    """A run of the list."""
    age = row.age(at)
    return {
        "id": row.id, "trainer": row.trainer, "dataset": row.dataset, "name": row.name, "path": console.shown_path(row),
        "size": row.size, "event_files": row.event_files, "points": row.points,
        "modified": row.modified.isoformat() if row.modified else None,
        "age_seconds": age.total_seconds() if age is not None else None, "status": row.status,
    }


def planned(draft: plan.Draft, at: datetime) -> dict[str, Any]:
    """The plan: what goes, what stays, and the token of exactly this list."""
    return {
        "token": draft.token,
        "going": [as_json(one.candidate, at) | {"reason": one.reason, "files": one.seen.files, "bytes": one.seen.size,
                                                "frees": one.seen.frees} for one in draft.going],
        "staying": [as_json(one.candidate, at) | {"reason": one.refusal} for one in draft.staying],
        "total": {"runs": len(draft.going), **{name: draft.total(name) for name in ("files", "size", "frees")}},
        "archive": draft.options.archive, "grace_seconds": draft.options.grace.total_seconds(),
        "saved_a_month": console.dollars(draft.total("frees")),
    }


def _reason(said: str, row: Candidate, at: datetime) -> str:
    age = row.age(at)
    if "old" in said.lower().split() and age is not None:
        return f"old: nothing came for {duration(age.total_seconds())}"
    return "all were selected"
