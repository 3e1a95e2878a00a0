"""What the commands that clean up have in common: their arguments, their one question, how they speak and how they end."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError

from retention import console
from retention.turn import Busy, Lost
from runs.lease import LeaseLost
from runs.units import size


class CleaningCommand(BaseCommand):
    """Asks before it does anything; speaks to people, or in one JSON object to scripts."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="say what would be done and do nothing")
        parser.add_argument("--yes", action="store_true", help="do it without asking")
        parser.add_argument("--json", action="store_true", help="one JSON object on standard output")

    def agree(self, runs: int, held: int, options: dict[str, Any]) -> bool:
        """Whether so many runs that hold so many bytes are to go: somebody said so, or is asked now."""
        if options["yes"]:
            return True
        if options["json"] or not console.is_terminal():
            self.refuse("Nothing was deleted: there is nobody to ask. --yes does it without, --dry-run only tells.")
        if console.agrees(f"Clean up {console.counted(runs)}, {size(held)}?"):
            return True
        self.stdout.write("Nothing was deleted.")
        return False

    def say(self, options: dict[str, Any], words: str) -> None:
        """Words for people; JSON has its own."""
        if not options["json"] and words:
            self.stdout.write(words)

    def complain(self, options: dict[str, Any], words: str) -> None:
        """The same for what is not as it should be."""
        if not options["json"]:
            self.stderr.write(self.style.ERROR(words))

    def tell_json(self, options: dict[str, Any], told: dict[str, Any]) -> None:
        """The one object for scripts."""
        if options["json"]:
            self.stdout.write(json.dumps(told, indent=1))

    def refuse(self, why: str) -> NoReturn:
        """Bad arguments: exit 2."""
        raise CommandError(why, returncode=2)


@contextmanager
def ending() -> Iterator[None]:
    """Exit 1 where another cleanup is at work or the right to go on was lost, 130 where somebody broke it off."""
    try:
        yield
    except (Busy, Lost, LeaseLost) as error:
        raise CommandError(str(error), returncode=1) from None
    except KeyboardInterrupt:
        raise CommandError("Cut off; what was begun is ended by: cleanup --resume", returncode=130) from None
