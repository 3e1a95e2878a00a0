"""cleanup --declare-lost: what waits for a volume that is lost for good comes to its end, once its root was typed."""

from __future__ import annotations

from typing import Any

from django.db.models import Q

from retention import console, losses, plan
from retention.files import Refused
from retention.losses import Loss
from retention.management.cleaning import CleaningCommand
from retention.turn import turn
from runs.models import Source
from runs.readers.plain import plain
from runs.units import size


def handle(command: CleaningCommand, options: dict[str, Any]) -> None:
    """Look, ask, say so; exit 1 where what waits for it must go on waiting."""
    source = named(command, options["declare_lost"])
    try:
        loss = losses.look(source)
    except Refused as error:
        command.refuse(f"Nothing was done: {error}")
    show(loss, command, options)
    told = as_json(loss) | {"declared": False}
    if loss.empty:
        command.say(options, "Nothing is lost." if loss.staying else "Nothing waits for it.")
        command.tell_json(options, told)
        raise SystemExit(1 if loss.staying else 0)
    if options["dry_run"]:
        command.say(options, "A dry run: nothing was done.")
        return command.tell_json(options, told)
    if not agreed(loss, command, options):
        return command.say(options, "Nothing was done.")
    author = plan.Author(console.whoever(), "console", plain(options["why"])[:2000])
    try:
        with turn() as held:
            losses.declare(source, loss.token, held, author)
    except (plan.Changed, Refused) as error:
        command.refuse(f"Nothing was done: {error}.")
    command.say(options, f"{source.root_text} is declared lost." + (
        f" restore brings back {console.counted(loss.archived)} from the archive, to a new volume at this root or with --to."
        if loss.archived else ""))
    command.tell_json(options, told | {"declared": True})


def named(command: CleaningCommand, said: str) -> Source:
    """The source of this number or root."""
    number = int(said) if said.isascii() and said.isdigit() and len(said) < 19 else 0
    source = Source.objects.select_related("trainer").filter(Q(pk=number) | Q(root=plain(said))).first()
    if source is None:
        known = ", ".join(f"{one.pk} ({one.root_text})" for one in Source.objects.all()[:50]) or "none"
        command.refuse(f"There is no source {console.cell(said).plain}; there are: {known}.")
    return source


def agreed(loss: Loss, command: CleaningCommand, options: dict[str, Any]) -> bool:
    """Whether its root was typed, or the token of a dry run given; a mere yes is too little."""
    if options["confirm"] is not None:
        if options["confirm"] != loss.token:
            command.refuse("Nothing was done: this token was given for something else. Look at a new dry run.")
        return True
    if options["json"] or options["yes"] or not console.is_terminal():
        command.refuse("Nothing was done: its root must be typed, or --confirm TOKEN of --dry-run --json given.")
    root = loss.source.root_text
    return (console.ask(f"Type {console.cell(root).plain} to declare it lost for good: ") or "").strip() == root


def show(loss: Loss, command: CleaningCommand, options: dict[str, Any]) -> None:
    """What is lost with it, and what is not."""
    if options["json"]:
        return
    screen, root = console.out(command.stdout), console.cell(loss.source.root_text).plain
    command.say(options, f"{root} {loss.away or 'answers'}.")
    if loss.graves or loss.steps:
        drawn = console.table("run", "lay at", "size", "stands", "archive", numeric=("size",))
        for planned, kept in [*((tomb.planned, tomb.archive) for tomb in loss.graves), *((one, None) for one in loss.steps)]:
            drawn.add_row(console.cell(planned.run.name), console.cell(planned.path_text), size(planned.size),
                          planned.get_step_display(), console.cell(kept.name if kept else "–"))
        screen.print(drawn)
    for run, where in loss.staying:
        command.complain(options, f"{console.cell(run.name).plain} {where}: restore or purge it; it is not lost")
    words = [f"{console.counted(len(loss.graves))} in the trash, {size(loss.size)}, {loss.archived:,} with an archive"]
    words += [f"{len(loss.steps):,} open step{'s' * (len(loss.steps) != 1)} of cleanups"] * bool(loss.steps)
    words += [f"{console.counted(len(loss.runs))} whose files are marked as missing"] * bool(loss.runs)
    command.say(options, "" if loss.empty else f"Lost: {'; '.join(words)}. Metrics, notes and archives stay; nothing is freed.")


def as_json(loss: Loss) -> dict[str, Any]:
    """What is lost with it, and what is not."""
    return {
        "source": loss.source.pk, "root": loss.source.root_text, "away": loss.away, "token": loss.token,
        "lost": [{"id": tomb.run_id, "path": tomb.path_text, "size": tomb.size,
                  "archive": tomb.archive.name if tomb.archive else None} for tomb in loss.graves],
        "failed": [{"id": one.run_id, "plan": one.plan_id, "step": one.step} for one in loss.steps],
        "ended": [tomb.run_id for tomb in loss.halves], "missing": list(loss.runs),
        "staying": [{"id": run.pk, "reason": where} for run, where in loss.staying],
    }
