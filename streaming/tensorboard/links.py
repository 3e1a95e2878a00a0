"""The address of a run in its trainer's TensorBoard, with that run alone chosen.

TensorBoard 2.21 takes ``?runFilter=`` for Time Series and ``regexInput`` in the hash for all other tabs, both regular
expressions of JavaScript; the first ignores case.  Up to 500 runs Time Series ticks what the filter leaves; beyond that it
ticks none, and Scalars is opened instead, where the filter alone decides.
"""

from __future__ import annotations

import os
import re
from urllib.parse import quote

from django.urls import NoReverseMatch, reverse

from runs import masks
from runs.models import LogFile, Run
from streaming.models import TensorBoard
from streaming.tensorboard.mounts import mounted, sources_of

#: Runs up to which Time Series ticks all; folders of one run that are named each.
TICKED, NAMED = 500, 20
_SIGNS = re.compile(r"[\\^$.*+?()\[\]{}|]")
#: What stands for a name that is a secret, or no text: it is not for our pages.
ANY = "[^/]+"


def board_url(slug: str) -> str:
    """Where a trainer's TensorBoard is; empty where the site has none."""
    try:
        return reverse("tensorboard", args=[slug])
    except NoReverseMatch:
        return ""


def run_url(run: Run, board: TensorBoard | None = None) -> str:
    """A run in its TensorBoard; empty where TensorBoard shows nothing of it."""
    if not (wanted := run_filter(run)):
        return ""
    tab = "scalars" if board and (board.runs_served or 0) > TICKED else "timeseries"
    said = quote(wanted, safe="")
    return f"{board_url(run.source.trainer.slug)}?runFilter={said}#{tab}&regexInput={said}"


def run_filter(run: Run) -> str:
    """A regular expression for what TensorBoard calls this run and its parts; empty where it has no event file."""
    prefix = mounted(sources_of(run.source.trainer)).get(run.source)
    paths = run.log_files.filter(kind=LogFile.Kind.EVENTS, missing=False).values_list("path", flat=True)
    folders = sorted({os.path.dirname(bytes(path)) for path in paths[:1000]})
    if prefix is None or not folders:
        return ""
    if len(folders) > NAMED:
        return f"^{_named(prefix, bytes(run.path))}(/.*)?$"
    names = dict.fromkeys(_named(prefix, folder) for folder in folders)
    return f"^({'|'.join(names)})$" if len(names) > 1 else f"^{next(iter(names))}$"


def _named(prefix: str, path: bytes) -> str:
    return pattern(os.path.normpath(os.path.join(os.fsencode(prefix), path) or b"."))


def pattern(name: bytes) -> str:
    """A name of TensorBoard's as a regular expression of JavaScript."""
    return "/".join(ANY if _is_masked(part) else _SIGNS.sub(r"\\\g<0>", part.decode()) for part in name.split(b"/"))


def _is_masked(part: bytes) -> bool:
    shown = masks.path(part.decode(errors="backslashreplace"))
    return shown.encode(errors="replace") != part
