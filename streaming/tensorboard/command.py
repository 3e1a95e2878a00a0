"""The command line of a trainer's TensorBoard, what may be said in it, and which paths its program needs to see."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError

from streaming.models import TensorBoard

#: What may be said beside our own arguments: nothing that names a file, an address or a program.
ALLOWED = ("generic_data", "load_fast", "max_reload_threads", "purge_orphaned_data", "reload_multifile_inactive_secs",
           "samples_per_plugin", "window_title")
LONGEST = 500


def prefix(slug: str) -> str:
    """Where a trainer's TensorBoard lies in the site, without a slash at its end."""
    return f"/tensorboard/{slug}"


def check_arguments(arguments: Any) -> None:
    """Refuse whatever is not `--flag=value` of an allowed flag."""
    if not isinstance(arguments, list) or not all(isinstance(one, str) for one in arguments):
        raise ValidationError("The arguments must be a list of strings, like [\"--samples_per_plugin=images=50\"].")
    for argument in arguments:
        flag, equals, value = argument.partition("=")
        if not equals or flag.removeprefix("--") not in ALLOWED or not flag.startswith("--"):
            allowed = ", ".join(f"--{name}=" for name in ALLOWED)
            raise ValidationError(f"{argument[:80]!r} is not allowed. These are: {allowed}")
        if len(value) > LONGEST or not value.isprintable():
            raise ValidationError(f"The value of {flag} is too long, or holds characters that cannot be shown.")


def check_executable(executable: str) -> None:
    """Refuse a program that the machine's administrator has not named."""
    if executable and executable not in settings.TRAINMON_TB_PROGRAMS:
        known = ", ".join(settings.TRAINMON_TB_PROGRAMS) or "none; an administrator of this machine names them there"
        raise ValidationError(f"{executable[:200]!r} is not one of TRAINMON_TB_PROGRAMS ({known}).")


def program(row: TensorBoard) -> list[str]:
    """The words that start its TensorBoard: trainmon's own, or the other version that it names."""
    if row.executable:
        return [row.executable]
    # through the folder's real path: links on the way need not exist in the sandbox
    folder, name = os.path.split(sys.executable)
    return [os.path.join(os.path.realpath(folder), name), "-I", "-m", "tensorboard.main"]


def command(row: TensorBoard, logdir: str) -> list[str]:
    """The whole command line; ValidationError where something in the row is not allowed (any more)."""
    check_executable(row.executable)
    check_arguments(row.arguments)
    own = {
        "logdir": logdir, "host": "127.0.0.1", "port": "0", "path_prefix": prefix(row.trainer.slug),
        "reload_interval": str(row.reload_interval), "reload_multifile": "true", "load_fast": "true",
    }
    given = {argument[2:].partition("=")[0] for argument in row.arguments}
    return [*program(row), *(f"--{name}={value}" for name, value in own.items() if name not in given), *row.arguments]


def needed_paths(words: list[str]) -> list[str]:
    """What a program needs of the disk beside the system: its installation, its Python's, each link on the way."""
    found: set[str] = set()
    for name in {words[0], *interpreter(words[0])}:
        for step in links(name):
            home = os.path.dirname(os.path.dirname(step))
            found |= {home, os.path.realpath(home), *base_of(home)} if is_installation(home) else {step}
    return sorted(path for path in found if path != "/")


def interpreter(script: str) -> Iterator[str]:
    """The program that a script names in its first line."""
    try:
        with open(script, "rb") as file:
            first = file.readline(4096)
    except OSError:
        return
    if first.startswith(b"#!") and (words := first[2:].decode(errors="replace").split()):
        yield words[0]


def links(path: str) -> Iterator[str]:
    """A path, and where each of its last part's links leads."""
    for _ in range(20):
        yield path
        if not os.path.islink(path):
            return
        path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))


def is_installation(folder: str) -> bool:
    """Whether it holds a Python and its packages: a home with a `bin` folder does not."""
    return any(os.path.exists(os.path.join(folder, name)) for name in ("pyvenv.cfg", "conda-meta")) or (
        os.path.isdir(lib := os.path.join(folder, "lib")) and any(name.startswith("python3.") for name in os.listdir(lib))
    )


def base_of(folder: str) -> Iterator[str]:
    """The Python that a virtual environment was made from."""
    try:
        with open(os.path.join(folder, "pyvenv.cfg")) as file:
            said = dict(line.partition("=")[::2] for line in file)
    except OSError:
        return
    home = next((value.strip() for key, value in said.items() if key.strip() == "home"), "")
    if os.path.basename(home) == "bin":
        yield from {os.path.dirname(home), os.path.realpath(os.path.dirname(home))}
