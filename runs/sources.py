"""Registering a folder of logs: ``SLUG=PATH`` or a bare path."""

from __future__ import annotations

import os
import re
from pathlib import Path

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils.text import slugify

from runs.models import Source, Trainer

SLUG = re.compile(r"[A-Za-z0-9_-]{1,100}")


def register(argument: str, *, demo: bool = False, dry_run: bool = False) -> Source:
    """The source of ``SLUG=PATH``, made with its trainer where it is new.

    A bare path takes the folder's name as slug, with a number where another folder has it.
    Raises ValidationError for a slug that is none, a path that is no folder (a known source
    may be away), or one that contains or lies in another source's root.
    """
    slug, path = _split(argument)
    root = os.path.abspath(os.path.expanduser(path))
    _refuse_unwritable(root)
    known = Source.objects.select_related("trainer").filter(root=root).first()
    if known is not None:
        if slug and known.trainer.slug != slug:
            raise ValidationError(f"{root} is registered already, for the trainer {known.trainer.slug}.")
        return known
    if not Path(root).is_dir():
        raise ValidationError(f"{root} is not a folder.")
    if dry_run:
        raise ValidationError(f"{root} is not registered yet: a dry run writes nothing, so sync it once without.")
    chosen = slug or _free_slug(slugify(Path(root).name) or "logs")
    trainer, _ = Trainer.objects.get_or_create(slug=chosen, defaults={"name": chosen, "demo": demo})
    source = Source(trainer=trainer, root=root)
    try:
        source.full_clean()
        with transaction.atomic():
            source.save()
    except (ValidationError, IntegrityError):
        first = Source.objects.select_related("trainer").filter(root=root).first()
        if first is None:
            raise
        return first  # somebody else has registered the same folder meanwhile
    return source


def _refuse_unwritable(root: str) -> None:
    """The database holds a root as text: names below it may be any bytes, its own may not."""
    try:
        root.encode()
    except UnicodeEncodeError:
        raise ValidationError(f"{ascii(root)} is not UTF-8.") from None


def _split(argument: str) -> tuple[str, str]:
    slug, equals, path = argument.partition("=")
    if not equals or "/" in slug:
        return "", argument
    if not SLUG.fullmatch(slug):
        raise ValidationError(f"{slug!r} is no slug: use letters, digits, - and _, e.g. lora=/volume/tensorboard.")
    if not path:
        raise ValidationError(f"{argument!r} names no folder.")
    return slug, path


def _free_slug(base: str) -> str:
    base = base[:90]
    taken = set(Trainer.objects.filter(slug__startswith=base).values_list("slug", flat=True))
    return next(slug for n in range(len(taken) + 1) if (slug := base if n == 0 else f"{base}-{n + 1}") not in taken)
