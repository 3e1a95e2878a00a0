"""cleanup --strangers: list what no cleanup of this registry knows, bring it back by its name, or delete it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils.timezone import now

from retention import console, strangers
from retention.files import Refused
from retention.management.cleaning import CleaningCommand
from retention.strangers import State, Stranger, Unseen
from retention.turn import turn
from runs import masks
from runs.models import Source
from runs.readers.plain import plain
from runs.status import duration
from runs.units import counted, size

WARNING = ("Another trainmon that shares a volume may have buried these: bring back or delete only what you know. "
           "--strangers --restore NAME, or --strangers --delete NAME.")


def handle(command: CleaningCommand, options: dict[str, Any]) -> None:
    """One of the three; exit 1 where it could not be done, or not all could be looked at."""
    name = options["restore"] or options["delete"]
    if options["restore"] and options["delete"]:
        command.refuse("Nothing was done: --restore or --delete, not both.")
    if name is None:
        return show(command, options)
    try:
        one = strangers.named(name)
        if one.inventory is None:
            raise Refused(f"{one.state}: it is left alone")
        restore(one, command, options) if options["restore"] else delete(one, command, options)
    except (Refused, OSError) as error:
        command.complain(options, f"{console.cell(name).plain}: {error}")
        command.tell_json(options, {"name": name, "error": str(error)})
        raise SystemExit(1) from None


def show(command: CleaningCommand, options: dict[str, Any]) -> None:
    """All of them."""
    some, unseen = strangers.found()
    at = now()
    command.tell_json(options, {"strangers": [as_json(one, at) for one in some], "unseen": [_unseen(one) for one in unseen]})
    if some and not options["json"]:
        numeric = ("size", "files")
        drawn = console.table("name", "lay at", *numeric, "buried", "state", numeric=numeric)
        for one in some:
            grew = f", {len(one.grew):,} changed since" if one.grew else ""
            drawn.add_row(console.cell(one.name), console.cell(_place(one)), size(one.size), f"{one.files:,}", _ago(one, at),
                          console.cell(one.state + grew))
        console.out(command.stdout).print(drawn)
    command.say(options, WARNING if some else "Nothing lies in a trash that no cleanup knows.")
    for left in unseen:
        command.complain(options, f"source {left.source.pk} ({left.source.root_text}): {left.why}")
    if unseen:
        raise SystemExit(1)


def restore(one: Stranger, command: CleaningCommand, options: dict[str, Any]) -> None:
    """Back to where it lay."""
    if one.state == State.HALF:
        raise Refused("its deletion has begun, so that it cannot come back whole: --delete ends that")
    source = one.home(options["source"])
    if source is None:
        them = ", ".join(f"{each.pk} ({each.root_text})" for each in one.sources)
        command.refuse(f"Nothing was done: which source did it come from? --source ID, of {them}.")
    where = f"{source.root_text}/{one.path}"
    if not options["dry_run"]:
        with turn() as held:
            strangers.bring_back(one, source, held, console.whoever(), plain(options["why"])[:2000])
    said = "would lie at" if options["dry_run"] else "is back at"
    command.say(options, f"{one.name} {said} {console.cell(where).plain}; a sync reads it.")
    command.tell_json(options, as_json(one, now()) | {"restored": not options["dry_run"], "to": where})


def delete(one: Stranger, command: CleaningCommand, options: dict[str, Any]) -> None:
    """For ever, after its name was typed."""
    if one.grew:
        raise Refused(f"{one.grew[0]} changed since it was buried: bring it back, or look at it")
    if options["dry_run"]:
        command.say(options, f"{one.name}: {size(one.frees)} would be free. A dry run: nothing was deleted.")
        return command.tell_json(options, as_json(one, now()) | {"dry_run": True})
    if not agreed(one, command, options):
        return command.say(options, "Nothing was deleted.")
    with turn() as held:
        freed = strangers.delete(one, held, console.whoever(), plain(options["why"])[:2000])
    command.say(options, f"{one.name} is deleted, {size(freed)} are free.")
    return command.tell_json(options, as_json(one, now()) | {"freed": freed})


def agreed(one: Stranger, command: CleaningCommand, options: dict[str, Any]) -> bool:
    """Whether its name was typed, here or as an argument; a mere yes is too little for what nobody here has buried."""
    if options["confirm"] is not None:
        if options["confirm"] != one.name:
            command.refuse("Nothing was deleted: --confirm is not its name.")
        return True
    if options["json"] or not console.is_terminal():
        command.refuse(f"Nothing was deleted: there is nobody to ask. --confirm {one.name} does it without.")
    question = (f"{one.name} ({size(one.size)}, {counted(one.files, 'file')}) has no archive here. "
                "Type its name to delete it for ever: ")
    return (console.ask(question) or "").strip() == one.name


def as_json(one: Stranger, at: datetime) -> dict[str, Any]:
    """A stranger."""
    home = one.home()
    return {
        "name": one.name, "state": one.state.name.lower(), "path": one.path or None, "source": home.pk if home else None,
        "sources": [{"id": each.pk, "root": each.root_text} for each in one.sources], "size": one.size, "files": one.files,
        "frees": one.frees, "buried": one.buried.isoformat() if one.buried else None,
        "age_seconds": (at - one.buried).total_seconds() if one.buried else None, "grew": one.grew,
    }


def _place(one: Stranger) -> str:
    home = one.home()
    if not one.path:
        return "–"
    return f"{home.root_text}/{one.path}" if home else f"{one.path} below {' or '.join(_root(each) for each in one.sources)}"


def _root(source: Source) -> str:
    return f"{source.root_text} (source {source.pk})"


def _ago(one: Stranger, at: datetime) -> str:
    return f"{duration(max(0.0, (at - one.buried).total_seconds()))} ago" if one.buried else "–"


def _unseen(one: Unseen) -> dict[str, Any]:
    return {"source": one.source.pk, "root": masks.path(one.source.root), "reason": one.why}
