"""manage.py prune: what the policies would clean up now, and doing it."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from datetime import datetime
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError
from django.utils.timezone import now

from retention import console, policies, rules
from retention.models import Plan, PlannedRun, RetentionPolicy
from retention.policies import Due
from retention.telling import as_json, dollars, outline
from retention.turn import Busy, Lost, turn
from runs.lease import LeaseLost
from runs.units import size

#: Runs that stay of which a list for people tells.
STAYING = 20


class Command(BaseCommand):
    """Exit codes: 0 all done, or nothing to do; 1 a policy refused, or a run that was due is still there; 2 bad arguments."""

    help = "Clean up what the policies that are switched on say: archive, check, move to the trash."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--policy", metavar="NAME", default="all", help="only this one (default: all that are on)")
        parser.add_argument("--dry-run", action="store_true", help="say what would be done and do nothing")
        parser.add_argument("--yes", action="store_true", help="do it without asking")
        parser.add_argument("--json", action="store_true", help="one JSON object on standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        """Show what each would do; ask; do exactly that."""
        chosen, at = self.chosen(options), now()
        every = list(policies.due_of(chosen, at))
        for one in every:
            self.show(one, options)
        told = {"policies": [policy_json(one, at) for one in every], "dry_run": options["dry_run"]}
        if options["dry_run"]:
            self.say(options, "A dry run: nothing was deleted.")
            return self.tell_json(options, told)
        if not chosen:
            self.say(options, "No policy is switched on: nothing to do.")
        if not self.agreed(every, options):
            return None
        try:
            self.carry_out(every, told, options)
        except (Busy, Lost, LeaseLost) as error:
            raise CommandError(str(error), returncode=1) from None
        except KeyboardInterrupt:
            raise CommandError("Cut off; what was begun is ended by: cleanup --resume", returncode=130) from None

    def chosen(self, options: dict[str, Any]) -> list[RetentionPolicy]:
        """The policies that are meant; one that is off may be looked at, but does nothing."""
        if options["policy"] == "all":
            return policies.enabled()
        named = RetentionPolicy.objects.filter(name=options["policy"].replace("\0", ""))
        found = list(named.select_related("trainer", "dataset__trainer"))
        if not found:
            known = ", ".join(RetentionPolicy.objects.values_list("name", flat=True)) or "none"
            self.refuse(f"There is no policy {console.cell(options['policy']).plain}; there are: {console.cell(known).plain}.")
        if not found[0].enabled and not options["dry_run"]:
            self.refuse("Nothing was deleted: this policy is switched off. --dry-run tells what it would do.")
        return found

    def show(self, one: Due, options: dict[str, Any]) -> None:
        """One policy: its rules, then what would go, or why it refuses."""
        if options["json"]:
            return
        screen = console.out(self.stdout)
        off = "" if one.policy.enabled else " (switched off)"
        screen.print(console.cell(f"{one.policy.name}{off}: {policies.whose(one.policy)}", "bold"))
        screen.print(console.cell("; ".join(rules.in_words(one.policy))))
        if one.refused:
            screen.print(console.cell(f"It refuses to run: {one.refused}.", "red"))
        staying = [*((it.candidate, it.refusal) for it in one.draft.staying), *one.evaluated.staying]
        if staying:
            screen.print(console.kept(staying[:STAYING]))
            self.say(options, f"and {len(staying) - STAYING:,} more stay\n" if len(staying) > STAYING else "")
        if one.draft.going:
            screen.print(console.going(one.draft))
            self.say(options, f"They are {console.manner(one.draft)}. "
                              f"Purging them saves {dollars(one.draft.total('frees'))}.\n")
        elif not one.refused:
            self.say(options, "Nothing goes.\n")

    def agreed(self, every: list[Due], options: dict[str, Any]) -> bool:
        """Whether it is to be done: somebody said so, or is asked now."""
        runs = sum(len(one.draft.going) for one in every)
        if options["yes"] or not runs:
            return True
        if options["json"] or not console.is_terminal():
            self.refuse("Nothing was deleted: there is nobody to ask. --yes does it without, --dry-run only tells.")
        total = size(sum(one.draft.total("size") for one in every))
        if console.agrees(f"Clean up {runs:,} run{'s' * (runs != 1)}, {total}?"):
            return True
        self.stdout.write("Nothing was deleted.")
        return False

    def carry_out(self, every: list[Due], told: dict[str, Any], options: dict[str, Any]) -> None:
        """Archive and bury, policy by policy; 1 where one refused or a run that was due is still there."""
        whole = True
        with turn() as held:
            for one, words in zip(every, told["policies"], strict=True):
                with console.steps(one.draft.total("size"), one.policy.archive, quiet=options["json"]) as tell:
                    made = policies.apply(one, held, tell, why=f"prune by {console.whoever()}")
                one.policy.refresh_from_db(fields=["outcome"])
                left = list(made.runs.exclude(step=PlannedRun.Step.BURIED).select_related("run")) if made else []
                words |= {"plan": made and made.pk, "outcome": one.policy.outcome, "left": [
                    {"id": row.run_id, "step": row.step, "reason": row.error} for row in left]}
                self.sum_up(one, made, left, options)
                whole = whole and not (left or one.refused or one.draft.staying)
        self.tell_json(options, told)
        if not whole:
            raise SystemExit(1)

    def sum_up(self, one: Due, made: Plan | None, left: list[PlannedRun], options: dict[str, Any]) -> None:
        """What came of a policy."""
        if options["json"]:
            return
        for row in left:
            self.stderr.write(self.style.ERROR(f"{console.cell(row.run.name).plain}: {row.step}: {row.error}"))
        name = console.cell(one.policy.name).plain
        line = f"{name}: {one.policy.outcome}{f', as cleanup {made.pk}' if made else ''}."
        self.stderr.write(self.style.ERROR(line)) if one.refused else self.stdout.write(line)

    def say(self, options: dict[str, Any], words: str) -> None:
        """Words for people; JSON has its own."""
        if not options["json"] and words:
            self.stdout.write(words)

    def tell_json(self, options: dict[str, Any], told: dict[str, Any]) -> None:
        """The one object for scripts."""
        if options["json"]:
            self.stdout.write(json.dumps(told, indent=1))

    def refuse(self, why: str) -> NoReturn:
        """Bad arguments: exit 2."""
        raise CommandError(why, returncode=2)


def policy_json(one: Due, at: datetime) -> dict[str, Any]:
    """What a policy would do: as the plan of a cleanup, with all that it says of the runs that stay."""
    told = outline(one.draft, at)
    told["staying"] += [as_json(row, at) | {"reason": why} for row, why in one.evaluated.staying]
    held_back = [as_json(row, at) | {"reason": why} for row, why in one.evaluated.wanted]
    return {"name": one.policy.name, "enabled": one.policy.enabled, "about": policies.whose(one.policy),
            "rules": rules.in_words(one.policy), "refused": one.refused, "held_back": held_back, **told}
