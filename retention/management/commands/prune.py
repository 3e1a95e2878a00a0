"""manage.py prune: what the policies would clean up now, and doing it."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.utils.timezone import now

from retention import console, policies, rules
from retention.management.cleaning import CleaningCommand, ending
from retention.models import Plan, PlannedRun, RetentionPolicy
from retention.policies import Due
from retention.telling import as_json, dollars, outline
from retention.turn import turn

#: Runs that stay of which a list for people tells.
STAYING = 20


class Command(CleaningCommand):
    """Exit codes: 0 all done, or nothing to do; 1 a policy refused, or a run that was due is still there; 2 bad arguments."""

    help = "Clean up what the policies that are switched on say: archive, check, move to the trash."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--policy", metavar="NAME", default="all", help="only this one (default: all that are on)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Show what each would do; ask; do exactly that."""
        chosen, at = self.chosen(options), now()
        every = list(policies.due_of(chosen, at))
        for one in every:
            self.show(one, at, options)
        told = {"policies": [policy_json(one, at) for one in every], "dry_run": options["dry_run"]}
        if not chosen:
            self.say(options, "No policy is switched on: nothing to do.")
        if options["dry_run"]:
            self.say(options, "A dry run: nothing was deleted.")
            return self.tell_json(options, told)
        runs = sum(len(one.draft.going) for one in every)
        if runs and not self.agree(runs, sum(one.draft.total("size") for one in every), options):
            return None
        with ending():
            self.carry_out(every, told, options)

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

    def show(self, one: Due, at: datetime, options: dict[str, Any]) -> None:
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
            screen.print(console.going(one.draft, at))
            self.say(options, f"They are {console.manner(one.draft)}. "
                              f"Purging them saves {dollars(one.draft.total('frees'))}.\n")
        elif not one.refused:
            self.say(options, "Nothing goes.\n")

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


def policy_json(one: Due, at: datetime) -> dict[str, Any]:
    """What a policy would do: as the plan of a cleanup, with all that it says of the runs that stay."""
    told = outline(one.draft, at)
    told["staying"] += [as_json(row, at) | {"reason": why} for row, why in one.evaluated.staying]
    held_back = [as_json(row, at) | {"reason": why} for row, why in one.evaluated.wanted]
    return {"name": one.policy.name, "enabled": one.policy.enabled, "about": policies.whose(one.policy),
            "rules": rules.in_words(one.policy), "refused": one.refused, "held_back": held_back, **told}
