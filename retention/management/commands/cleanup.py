"""manage.py cleanup: which runs could go, which were chosen, and what deleting them would mean."""

from __future__ import annotations

from argparse import ArgumentParser
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils.timezone import now

from retention import console, forgetting, place, plan, purging, returning, vacuum, work
from retention.candidates import Candidate
from retention.choosing import Question, listed
from retention.management import losing, strangers
from retention.management.cleaning import CleaningCommand, ending
from retention.models import Plan, PlannedRun
from retention.selection import Invalid, age, by_number, select
from retention.telling import as_json, dollars, outline, reason_of_age
from retention.turn import Turn, turn
from runs.models import Run, Trainer
from runs.readers.plain import plain
from runs.units import size


class Command(CleaningCommand):
    """Exit codes: 0 all done, or nothing to do; 1 something that was selected is still there; 2 bad arguments, nothing done."""

    help = "List runs, oldest first, and clean up those that are selected: archive, check, move to the trash."

    def add_arguments(self, parser: ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--trainer", metavar="SLUG", help="only the runs of this trainer (default: all)")
        parser.add_argument("--select", metavar="EXPR", help='numbers of the list: "0 2 5", "0-5", mixed; or all, or old')
        parser.add_argument("--older-than", metavar="AGE", help="only runs of which nothing came for so long: 12h, 7d, 2w")
        parser.add_argument("--no-archive", action="store_false", dest="archive", help="delete without an archive")
        parser.add_argument("--archive", action="store_true", default=True, help="archive and check first (the default)")
        parser.add_argument("--forget-metrics", action="store_true", help="drop the points of purged runs; archives keep them")
        parser.add_argument("--grace", metavar="AGE", help="how long runs stay in the trash (default: TRAINMON_CLEANUP_GRACE)")
        parser.add_argument("--force", action="store_true", help="pinned and bookmarked runs, too")
        parser.add_argument("--why", default="", help="a reason, for the audit trail")
        parser.add_argument("--confirm", metavar="TOKEN", help="do it if it is exactly what a dry run gave this token for")
        parser.add_argument("--resume", action="store_true", help="only finish what was cut off")
        parser.add_argument("--purge", action="store_true", help="delete what has lain in the trash for its time")
        parser.add_argument("--strangers", action="store_true", help="list what lies in trashes and no cleanup here knows")
        parser.add_argument("--restore", metavar="NAME", help="with --strangers: put this one back where it lay")
        parser.add_argument("--delete", metavar="NAME", help="with --strangers: delete this one; its name confirms (--confirm)")
        parser.add_argument("--source", type=int, metavar="ID", help="with --strangers --restore: the source that it came from")

        parser.add_argument("--declare-lost", metavar="SOURCE", help="this volume is gone for good: end what waits for it")

    def handle(self, *args: Any, **options: Any) -> None:
        """One of: finish what was cut off, purge what is due, or list, plan and clean up."""
        with ending():
            if options["resume"]:
                self.resume(options)
            elif options["purge"]:
                self.purge(options)
            elif options["declare_lost"] is not None:
                losing.handle(self, options)
            elif options["strangers"]:
                strangers.handle(self, options)
            elif options["restore"] or options["delete"] or options["source"]:
                self.refuse("Nothing was done: --restore, --delete and --source belong to --strangers (a run: restore ID).")
            else:
                self.clean(options)

    def clean(self, options: dict[str, Any]) -> None:
        """List, plan what was selected, ask, do it."""
        if not options["dry_run"]:
            self.resume_first(options)
        at = now()
        rows, than = self.listed(options, at)
        self.show_list(rows, at, options)
        draft, said = self.drafted(rows, than, at, options)
        if draft is None:
            return
        self.show_plan(draft, at, options)
        if not draft.going:
            self.tell_json(options, outline(draft, at) | {"dry_run": options["dry_run"]})
            raise SystemExit(0 if options["dry_run"] else 1)
        if options["dry_run"]:
            self.say(options, "A dry run: nothing was deleted.")
            return self.tell_json(options, outline(draft, at) | {"dry_run": True})
        if self.agreed(draft, options):
            self.carry_out(draft, said, at, options)

    def drafted(
        self, rows: list[Candidate], than: timedelta, at: datetime, options: dict[str, Any]
    ) -> tuple[plan.Draft | None, str]:
        """The plan for what was selected; None where nothing was."""
        said = self.said(rows, than, at, options)
        if said is None:
            self.tell_json(options, {"runs": [as_json(row, at) for row in rows]})
            return None, ""
        chosen = self.chosen(said, rows, than, at) if rows else []
        if not chosen:
            self.say(options, "Nothing is selected, nothing was deleted." if rows else "")
            self.tell_json(options, outline(plan.Draft(self.manner(options)), at) | {"dry_run": options["dry_run"]})
            return None, ""
        how = self.manner(options)
        with console.bar(len(chosen), quiet=options["json"]) as tell:
            return plan.draft(chosen, how, at, tell, place.looking(how)), said

    def agreed(self, draft: plan.Draft, options: dict[str, Any]) -> bool:
        """Whether it is to be done: somebody said so, or is asked now."""
        if options["confirm"] is not None:
            if options["confirm"] != draft.token:
                self.refuse("Nothing was deleted: what would go is not what this token was given for. Look at a new dry run.")
            return True
        return self.agree(len(draft.going), draft.total("size"), options)

    def carry_out(self, draft: plan.Draft, said: str, at: datetime, options: dict[str, Any]) -> None:
        """Archive and bury."""
        with turn() as held:
            try:
                made = plan.confirm(draft, author(options, said), draft.token)
            except plan.Changed as changed:
                self.refuse(f"Nothing was deleted: {changed}.")
            with console.steps(draft.total("size"), made.archive, quiet=options["json"]) as tell:
                work.carry_out(made, held, tell)
        self.sum_up(made, outline(draft, at) | {"dry_run": False}, options)

    def resume_first(self, options: dict[str, Any]) -> None:
        """What was cut off is ended before anything new is begun, where somebody wants something done."""
        left = work.unfinished()
        if not left and not returning.cut_off():
            return
        ready = options["yes"] or options["confirm"] is not None
        asked = not options["json"] and console.is_terminal()
        if ready or (asked and console.agrees(f"{left[0] if left else 'A restore'} was cut off. Go on with it?")):
            with turn() as held:
                self.finish(held, options)
        elif not asked:
            self.stderr.write("A cleanup was cut off: cleanup --resume ends it.")

    def finish(self, held: Turn, options: dict[str, Any]) -> list[Plan]:
        """Whatever was cut off comes to its end."""
        left = work.unfinished()
        for old in left:
            self.say(options, f"First the end of {old}, which was cut off.")
            work.carry_out(old, held)
        halfway = [planned.run for planned in returning.cut_off()]
        for run in halfway:
            self.say(options, f"{console.cell(run.name).plain} was on its way back.")
        for one in returning.restore(halfway, held, author(options, "").who):
            if isinstance(one, returning.Away):
                self.stderr.write(self.style.ERROR(f"{console.cell(one.run.name).plain} {one.why}"))
        return left

    def resume(self, options: dict[str, Any]) -> None:
        """Only that."""
        with turn() as held:
            left = self.finish(held, options)
        if not left:
            self.say(options, "Nothing was cut off.")
            return self.tell_json(options, {"plans": []})
        for old in left:
            self.sum_up(old, {"plan": old.pk}, options)

    def sum_up(self, made: Plan, told: dict[str, Any], options: dict[str, Any]) -> None:
        """What became of each run; 1 where one is still there."""
        rows = list(made.runs.select_related("run"))
        gone = [row for row in rows if row.step == PlannedRun.Step.BURIED]
        rest = [row for row in rows if row.step != PlannedRun.Step.BURIED]
        frees = sum(row.frees for row in gone)
        for row in rest:
            self.complain(options, f"{console.cell(row.run.name).plain}: {row.step}: {row.error}")
        if gone:
            them = "it" if len(gone) == 1 else "them"
            until = f"{now() + made.grace:%Y-%m-%d %H:%M} UTC"
            self.say(options, f"{console.counted(len(gone), 'is', 'are')} in the trash. Until {until} restore brings "
                              f"{them} back; after that cleanup --purge deletes {them}, which frees "
                              f"{size(frees)} ({dollars(frees)}).")
        self.say(options, f"{console.counted(len(rest), 'is', 'are')} still there." if rest else "Nothing failed.")
        self.tell_json(options, told | {"plan": made.pk, "buried": [row.run_id for row in gone], "frees": frees, "left": [
            {"id": row.run_id, "step": row.step, "reason": row.error} for row in rest]})
        if rest:
            raise SystemExit(1)

    def purge(self, options: dict[str, Any]) -> None:
        """Delete what is past its grace period."""
        at = now()
        tombs = purging.due(at)
        if options["dry_run"]:
            total = size(sum(tomb.frees for tomb in tombs))
            self.say(options, f"{console.counted(len(tombs), 'is', 'are')} due, {total}. A dry run: nothing was deleted.")
            return self.tell_json(options, {"due": [tomb.run_id for tomb in tombs], "dry_run": True})
        with turn() as held:
            self.finish(held, options)
            outcomes = purging.purge_all(purging.due(at), held, at)
        room = vacuum.finish()
        gone = [one for one in outcomes if isinstance(one, purging.Purged)]
        kept = [one for one in outcomes if isinstance(one, purging.Kept)]
        freed = sum(one.freed for one in gone)
        for one in kept:
            self.complain(options, f"{console.cell(one.tomb.run.name).plain} stays in the trash: {one.why}")
        left = [(one.tomb.run, one.points.why) for one in gone if isinstance(one.points, forgetting.Remembered)]
        for run, why in left:
            self.complain(options, f"{console.cell(run.name).plain}: its points stay in the registry: {why}")
        saved = f"{size(freed)} are free, {dollars(freed)} saved"
        stay = f"{len(kept):,} {'stays' if len(kept) == 1 else 'stay'}"
        self.say(options, f"{console.counted(len(gone), 'was', 'were')} purged, {stay}. {saved}.")
        self.say(options, vacuum.in_words(room) if gone or room else "")
        self.tell_json(options, {"database": vacuum.as_json(room), "purged": [one.tomb.run_id for one in gone], "freed": freed,
                                 "saved_a_month": dollars(freed),
                                 "kept": [{"id": one.tomb.run_id, "reason": one.why} for one in kept],
                                 "points_kept": [{"id": run.pk, "reason": why} for run, why in left]})
        if kept or left:
            raise SystemExit(1)

    def listed(self, options: dict[str, Any], at: datetime) -> tuple[list[Candidate], timedelta]:
        """The runs to choose from, and the age from which one is old."""
        slug = "" if options["trainer"] is None else self.known(options["trainer"])
        than = None if options["older_than"] is None else self.aged(options["older_than"])
        rows = listed(Run.objects.all(), Question(trainer=slug, older_than=than), at)
        return rows, timedelta(days=settings.TRAINMON_OLD_DAYS) if than is None else than

    def known(self, slug: str) -> str:
        """A trainer that is there, or "" for all; an empty one, as of a variable that is not set, never means all."""
        there = Trainer.objects.filter(slug=slug).exists()
        if slug == "all" and there:
            self.refuse("all means every trainer, but one is called so: without --trainer all are meant, choose by --select.")
        if slug == "all":
            return ""
        if not there:
            known = ", ".join(Trainer.objects.values_list("slug", flat=True)) or "none"
            self.refuse(f"There is no trainer {console.cell(slug).plain or 'without a name'}; there are: {known}.")
        return slug

    def said(self, rows: list[Candidate], than: timedelta, at: datetime, options: dict[str, Any]) -> str | None:
        """The selection in words, asked for where somebody sits there; None where nobody made one."""
        if options["select"] is not None:
            return options["select"]
        if rows and console.is_terminal() and not (options["json"] or options["yes"] or options["confirm"]):
            return self.asked(rows, than, at)
        return "old" if options["older_than"] is not None else None

    def asked(self, rows: list[Candidate], than: timedelta, at: datetime) -> str:
        """What somebody selects; asked again where it is wrong."""
        while True:
            said = console.ask("Select runs (0 2 5, 0-5, all, old; nothing to cancel): ") or ""
            try:
                self.numbers(said, rows, than, at)
                return said
            except Invalid as error:
                self.stdout.write(self.style.ERROR(str(error)))

    def chosen(self, said: str, rows: list[Candidate], than: timedelta, at: datetime) -> list[tuple[Candidate, str]]:
        """The selected runs, each with the reason."""
        try:
            numbers = self.numbers(said, rows, than, at)
        except Invalid as error:
            self.refuse(f"Nothing was selected. {error}")
        named = by_number(said)
        return [(rows[number], "selected by number" if named else _reason(said, rows[number], at)) for number in numbers]

    def numbers(self, said: str, rows: list[Candidate], than: timedelta, at: datetime) -> list[int]:
        """The places in the list that are meant."""
        return select(said, len(rows), {number for number, row in enumerate(rows) if row.is_older(than, at)})

    def manner(self, options: dict[str, Any]) -> plan.Options:
        """How it is to be done."""
        grace = timedelta(days=settings.TRAINMON_CLEANUP_GRACE) if options["grace"] is None else self.aged(options["grace"])
        if options["forget_metrics"] and not options["archive"]:
            self.refuse("Nothing was deleted: --forget-metrics needs an archive that holds the metrics.")
        return plan.Options(options["archive"], grace, options["force"], forget_metrics=options["forget_metrics"])

    def aged(self, said: str) -> timedelta:
        """A duration from an argument."""
        try:
            return age(said)
        except Invalid as error:
            self.refuse(str(error))

    def show_list(self, rows: list[Candidate], at: datetime, options: dict[str, Any]) -> None:
        """The numbered list."""
        if not rows:
            older = f" older than {options['older_than']}" if options["older_than"] else ""
            return self.say(options, f"There are no runs{older}: nothing to clean up.")
        if not options["json"]:
            console.out(self.stdout).print(console.runs(rows, at))

    def show_plan(self, draft: plan.Draft, at: datetime, options: dict[str, Any]) -> None:
        """What would go and what must stay."""
        if options["json"]:
            return
        screen = console.out(self.stdout)
        if draft.staying:
            screen.print(console.staying(draft))
        if said := place.trouble_of(draft):
            self.complain(options, f"No archive can be made now: {console.cell(said).plain}. {place.WAY_OUT} --no-archive.")
        if draft.going:
            screen.print(console.going(draft, at))
            self.stdout.write(f"They are {console.manner(draft)}. Purging them saves {dollars(draft.total('frees'))}.")
        else:
            self.stdout.write("None of the selected runs may go.")


def author(options: dict[str, Any], said: str) -> plan.Author:
    """Whoever sits at this machine."""
    return plan.Author(console.whoever(), "console", plain(options["why"])[:2000], plain(said)[:2000])


def _reason(said: str, row: Candidate, at: datetime) -> str:
    return (reason_of_age(row, at) if "old" in said.lower().split() else "") or "all were selected"
