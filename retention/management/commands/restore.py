"""manage.py restore: bring runs back from the trash, or from their archives."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from retention import console, purging, returning
from retention.files import Refused
from retention.models import Tombstone
from retention.turn import Busy, Lost, turn
from runs.models import Run
from runs.units import size


class Command(BaseCommand):
    """Exit codes: 0 all are back, 1 one is not (named), 2 bad arguments."""

    help = "List what lies in the trash, or bring runs back: from the trash, after a purge from their archive."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("runs", nargs="*", type=int, metavar="ID", help="ids of runs; none: list what lies in the trash")
        parser.add_argument("--to", metavar="FOLDER", help="unpack the archive of one run into this new folder instead")
        parser.add_argument("--json", action="store_true", help="one JSON object on standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        """List, or bring back."""
        wanted = list(dict.fromkeys(options["runs"]))
        if not wanted:
            return self.list_trash(options)
        found = Run.objects.in_bulk([pk for pk in wanted if 0 < pk < 2**63])
        if missing := [pk for pk in wanted if pk not in found]:
            raise CommandError(f"There is no run {missing[0]}; nothing was restored.", returncode=2)
        self.bring([found[pk] for pk in wanted], self.folder(options), options)

    def folder(self, options: dict[str, Any]) -> Path | None:
        """Where a copy is to go."""
        if options["to"] is None:
            return None
        folder = Path(options["to"])
        if not folder.is_absolute() or len(set(options["runs"])) != 1 or not folder.name or ".." in folder.parts:
            raise CommandError("--to takes the absolute path of a new folder, for one run.", returncode=2)
        return folder

    def bring(self, runs: list[Run], folder: Path | None, options: dict[str, Any]) -> None:
        """One after the other; one that does not come does not stop the others."""
        try:
            with turn() as held:
                done = [copied(runs[0], folder)] if folder else returning.restore(runs, held, console.whoever())
        except (Busy, Lost) as error:
            raise CommandError(str(error), returncode=1) from None
        for one in done if not options["json"] else []:
            name = console.cell(one.run.name).plain
            if isinstance(one, returning.Away):
                self.stderr.write(self.style.ERROR(f"{name}: {one.why}"))
            else:
                self.stdout.write(f"{name} lies in {folder} now." if folder else f"{name} is back, from the {one.origin}.")
        if options["json"]:
            self.stdout.write(json.dumps({"runs": [outcome(one) for one in done]}, indent=1))
        if any(isinstance(one, returning.Away) for one in done):
            raise SystemExit(1)

    def list_trash(self, options: dict[str, Any]) -> None:
        """What can be restored from the trash."""
        tombs = purging.lying()
        if options["json"]:
            return self.stdout.write(json.dumps({"trash": [as_json(tomb) for tomb in tombs]}, indent=1))
        if not tombs:
            return self.stdout.write("Nothing lies in the trash.")
        drawn = console.table("id", "run", "folder", "size", "buried", "purged from", numeric=("id", "size"))
        for tomb in tombs:
            drawn.add_row(str(tomb.run_id), console.cell(tomb.run.name), console.cell(tomb.path_text), size(tomb.size),
                          f"{tomb.buried_at:%Y-%m-%d %H:%M}", f"{tomb.purge_after:%Y-%m-%d %H:%M}")
        console.out(self.stdout).print(drawn)


def copied(run: Run, folder: Path) -> returning.Back | returning.Away:
    """The archive of a run, unpacked elsewhere."""
    try:
        return returning.copy_out(run, folder, console.whoever())
    except (Refused, OSError) as error:
        return returning.Away(run, str(error))


def outcome(one: returning.Back | returning.Away) -> dict[str, Any]:
    """What became of a run."""
    told = {"error": one.why} if isinstance(one, returning.Away) else {"origin": one.origin}
    return {"id": one.run.pk, "name": one.run.name, **told}


def as_json(tomb: Tombstone) -> dict[str, Any]:
    """A buried run."""
    return {
        "id": tomb.run_id, "name": tomb.run.name, "path": tomb.path_text, "size": tomb.size, "frees": tomb.frees,
        "buried": tomb.buried_at.isoformat(), "purge_after": tomb.purge_after.isoformat(), "grew": tomb.grew,
        "archive": tomb.archive.name if tomb.archive else None,
    }
