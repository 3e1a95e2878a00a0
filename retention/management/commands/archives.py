"""manage.py archives: list what was archived, or read archives again and check every byte."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.timezone import now

from retention import archive, console
from retention.models import Archive
from runs.units import size

UNREACHABLE = "unreachable"


class Command(BaseCommand):
    """Exit codes: 0 all well, 1 an archive cannot be relied on or reached (named), 2 bad arguments."""

    help = "List archives, or verify them: read again, each byte compared with its manifest, and that with the registry."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("action", choices=["list", "verify"])
        parser.add_argument("names", nargs="*", metavar="NAME", help="archives; none: all")
        parser.add_argument("--shallow", action="store_true", help="only that each is there, with its own manifest")
        parser.add_argument("--json", action="store_true", help="one JSON object on standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        """List or verify."""
        kept = [Archive.State.VERIFIED, Archive.State.BROKEN]
        rows = Archive.objects.filter(state__in=kept).select_related("run").order_by("pk")
        if options["names"]:
            rows = rows.filter(name__in=options["names"])
            known = {row.name for row in rows}
            if missing := [name for name in options["names"] if name not in known]:
                raise CommandError(f"There is no archive {console.cell(missing[0]).plain}.", returncode=2)
        told = [verified(row, deep=not options["shallow"]) if options["action"] == "verify" else as_json(row) for row in rows]
        self.show(told, options)
        bad = [one for one in told if one["state"] != Archive.State.VERIFIED] if options["action"] == "verify" else []
        for one in bad if not options["json"] else []:
            self.stderr.write(self.style.ERROR(f"{console.cell(one['name']).plain} is {one['state']}: {one['error']}"))
        if bad:
            raise SystemExit(1)

    def show(self, told: list[dict[str, Any]], options: dict[str, Any]) -> None:
        """A table, or JSON."""
        if options["json"]:
            return self.stdout.write(json.dumps({"archives": told}, indent=1))
        if not told:
            return self.stdout.write("There are no archives.")
        drawn = console.table("archive", "run", "size", "files", "state", numeric=("size", "files"))
        for one in told:
            words = [console.cell(one[name]) for name in ("name", "run")]
            state = console.cell(f"{one['state']} {one['error']}".strip(), "red" if one["error"] else "")
            drawn.add_row(*words, size(one["size"]), f"{one['files']:,}", state)
        console.out(self.stdout).print(drawn)


def verified(row: Archive, *, deep: bool) -> dict[str, Any]:
    """Read an archive again; what was found is on its row."""
    found = archive.look(row.destination, row.name, row.manifest_sha256, deep=deep)
    if isinstance(found, archive.Away):  # of the archive itself nothing is known: its row stays
        return as_json(row) | {"state": UNREACHABLE, "error": found.reason}
    if isinstance(found, archive.Broken):
        row.state, row.error = Archive.State.BROKEN, found.reason[:2000]
    elif deep:
        row.state, row.error, row.verified_at = Archive.State.VERIFIED, "", now()
    row.save(update_fields=["state", "error", "verified_at"])
    return as_json(row)


def as_json(row: Archive) -> dict[str, Any]:
    """An archive and how it stands."""
    return {
        "name": row.name, "run": row.run.name, "run_id": row.run_id, "destination": row.destination, "size": row.size,
        "files": row.files, "sha256": row.sha256, "state": row.state, "error": row.error,
        "verified": row.verified_at.isoformat() if row.verified_at else None,
    }
