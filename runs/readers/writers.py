"""Directories that one SummaryWriter makes below its own, told by what they hold.

torch's ``add_scalars("loss", {"a": 1})`` writes the tag ``loss`` into ``{logdir}/loss_a``,
tensorboardX into ``{logdir}/loss/a``; ``add_hparams`` of both writes an experiment into
``{logdir}/{time.time()}`` or a directory of the caller's naming.
"""

from __future__ import annotations

import re
from typing import Final

EXPERIMENT: Final = "_hparams_/experiment"
_HPARAMS: Final = "_hparams_/"
_TIME_NAME: Final = re.compile(rb"\d{9,11}\.\d+")
_NOT_IN_A_TAG: Final = re.compile(r"[^-\w.]")


def is_scalars_child(relative: bytes, tags: tuple[str, ...]) -> bool:
    """Whether ``relative`` (to the logdir) is where add_scalars writes these tags.

    Such a file holds one main tag only, so one foreign tag means a run of its own: a run
    ``loss_ablation`` may well begin with ``loss``.
    """
    folded = _fold(relative.decode("utf-8", "surrogateescape"))
    return bool(tags) and all(tag and folded.startswith(_fold(tag) + "_") for tag in tags)


def is_hparams_child(name: bytes, tags: tuple[str, ...]) -> bool:
    """Whether a directory is what add_hparams made.

    Its first summary is the experiment.  A run of TensorFlow's hparams guide begins with
    the session's start, below a directory that holds the experiment: that is a run.
    """
    if not tags:
        return False
    return tags[0] == EXPERIMENT or (tags[0].startswith(_HPARAMS) and is_time_name(name))


def is_time_name(name: bytes) -> bool:
    """``str(time.time())``, the name that add_hparams gives by default."""
    return _TIME_NAME.fullmatch(name) is not None


def _fold(text: str) -> str:
    # torch turns "/" into "_"; tensorboardX cleans the tag in the file, not the directory.
    return _NOT_IN_A_TAG.sub("_", text)
