"""Names: which file is what by its name, and what a run is called by its path."""

from __future__ import annotations

import os
import re
from typing import Final

AUTO: Final = "auto"
FLAT: Final = "flat"
DATASET_RUN: Final = "dataset/run"
LAYOUTS: Final = (AUTO, FLAT, DATASET_RUN)

JOB_LOG_SUFFIX: Final = b".jsonl"
#: Of text logs; the longer ones come first.
TEXT_SUFFIXES: Final = (b".stdout.log", b".stderr.log", b".stdout", b".stderr", b".log", b".out")
#: What is logged below these folders says nothing of a training that is not said elsewhere.
_NO_LOGS_BELOW: Final = frozenset({b"wandb", b".git", b"node_modules", b"site-packages"})
TRAINER_STATE: Final = b"trainer_state.json"

#: Files beside the logs that say something about the run.
SIDECARS: Final = (
    TRAINER_STATE,
    b"config.yml",
    b"config.yaml",
    b"config.json",
    b"args",
    b"args.yaml",
    b"args.json",
    b"hparams.yaml",
    b"training_args.json",
    b"params.json",
    b"train-results.json",
    b"train_results.json",
    b"eval_results.json",
    b"all_results.json",
    b"eval-report.json",
    b"final_metrics.json",
    b"cost_report.json",
    b"status.json",
)

_UNFINISHED: Final = (b".tmp", b".temp", b".part", b".partial", b".filepart")
_RSYNC: Final = re.compile(rb"\..*\.[A-Za-z0-9]{6}", re.DOTALL)
_RSYNC_FOLDERS: Final = (b".rsync-partial", b".~tmp~")
_VERSION: Final = re.compile(rb"version_\d+")
_CHECKPOINT: Final = re.compile(rb"checkpoint-(\d{1,18})")

#: Where a run's pushed events are (runs/pushed.py): its folder is the run, whatever it says itself.
PUSHED: Final = b"pushed.jsonl"

#: Stems that name no job: the directory does.
_STEMS_OF_ANY_JOB: Final = {b"events", b"log", b"logs", b"metrics", b"train", b"training"}
_STEMS_OF_ANY_TEXT: Final = _STEMS_OF_ANY_JOB | {b"output", b"stdout", b"stderr", b"nohup", b"console", b"run", b"trainer"}


def is_event_file(directory: bytes, name: bytes) -> bool:
    """TensorBoard's rule (it passes over its profiler's markers), less unfinished copies.

    TensorBoard reads a copy under rsync's temporary name too; to us it would be a second
    file with the same points.
    """
    if b"tfevents" not in name or name.endswith(b".profile-empty"):
        return False
    return not is_copying(directory, name)


def is_copying(directory: bytes, name: bytes) -> bool:
    """An event file that rsync or an upload is still writing under another name."""
    if b"tfevents" not in name:
        return False
    if name.endswith(_UNFINISHED) or (name.startswith(b".") and _RSYNC.fullmatch(name)):
        return True
    return directory.endswith(_RSYNC_FOLDERS) and directory.rpartition(b"/")[2] in _RSYNC_FOLDERS


def may_be_job_log(name: bytes) -> bool:
    """A .jsonl file; a look into it decides.  One named as an event file stays one."""
    return name.endswith(JOB_LOG_SUFFIX) and b"tfevents" not in name


def may_be_text_log(name: bytes) -> bool:
    """A file of text that a trainer may have printed; a look into it decides."""
    return name.endswith(TEXT_SUFFIXES) and b"tfevents" not in name


def logs_lie_in(directory: bytes) -> bool:
    """Whether text logs of a folder are read."""
    return _NO_LOGS_BELOW.isdisjoint(directory.split(b"/"))


def names_job(name: bytes) -> bytes:
    """The job that a text log is of by its name; b"" for a name that any job's may have."""
    stem = _text_stem(name)
    return b"" if stem in _STEMS_OF_ANY_TEXT else stem


def job_of_text(path: bytes) -> bytes:
    """The job of a text log: by its name, else by the folder that it lies in."""
    folder, _, name = path.rpartition(b"/")
    return names_job(name) or folder.rpartition(b"/")[2] or _text_stem(name)


def _text_stem(name: bytes) -> bytes:
    return next((name[: -len(suffix)] for suffix in TEXT_SUFFIXES if name.endswith(suffix)), name)


def matches_cleanup_glob(name: bytes) -> bool:
    """``events.out.tfevents.*``: what the old cleanup counted as an event file."""
    return name.startswith(b"events.out.tfevents.")


def is_wanted(name: bytes) -> bool:
    """Whether the layout looks at a file of this name: the scan may forget the others."""
    return b"tfevents" in name or name.endswith((JOB_LOG_SUFFIX, *TEXT_SUFFIXES)) or name in SIDECARS


def checkpoint_step(name: bytes) -> int | None:
    """The step of a ``checkpoint-500`` directory."""
    match = _CHECKPOINT.fullmatch(name)
    return int(match[1]) if match else None


def display(name: bytes) -> str:
    """A name for people: bad UTF-8 and everything unprintable as escapes, on one line."""
    text = name.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def run_name(path: bytes, *, layout: str, root: bytes) -> tuple[str, str, str]:
    """Dataset, name and the rule that applied, for the run in a directory."""
    if not path:
        return "", _root_name(root), "root"
    if layout != AUTO:
        return _fixed(path, layout)
    *above, name = path.split(b"/")
    rule = {0: "L1", 1: "L2"}.get(len(above), "deeper")
    if above and above[-1] == b"runs":  # Hugging Face, torch's default: a folder, no dataset
        above.pop()
        rule = "runs"
    if len(above) > 1 and above[0] == b"datasets":
        del above[0]
        rule = "L3"
    if not above and _VERSION.fullmatch(name):
        return _root_name(root), display(name), "lightning"
    return display(b"/".join(above)), display(name), rule


def job_name(path: bytes, *, layout: str) -> tuple[str, str, str]:
    """Dataset, name and rule for a run that is only a job log: its stem, no dataset."""
    above_it, _, file = path.rpartition(b"/")
    if file == PUSHED and above_it:
        return run_name(above_it, layout=layout, root=b"")
    folder, slash, name = path.removesuffix(JOB_LOG_SUFFIX).rpartition(b"/")
    whole = folder + slash + (_text_stem(name) if may_be_text_log(name) else name)
    if layout != AUTO:
        return _fixed(whole, layout)
    *above, stem = whole.split(b"/")
    if stem in (_STEMS_OF_ANY_TEXT if may_be_text_log(name) else _STEMS_OF_ANY_JOB) and above:
        return "", display(above[-1]), "job log"
    return "", display(stem), "job log"


def _fixed(path: bytes, layout: str) -> tuple[str, str, str]:
    """A layout that an admin has set on the source."""
    first, slash, rest = path.partition(b"/")
    if layout == FLAT or not slash:
        return "", display(path), layout
    return display(first), display(rest), layout


def _root_name(root: bytes) -> str:
    return display(os.path.basename(os.path.abspath(root)) or b"/")


def parent_of(path: bytes) -> bytes:
    """The folder that a path lies in; "" above all."""
    return path.rpartition(b"/")[0]
