"""What trainers without a shared volume send: files below our own data directory, read as any other log.

HOME/pushed/<trainer> is a source.  Events are appended to <run>/pushed.jsonl, whole files lie where
they were sent to.  What was answered for is on disk (fsync), under a lock on the file, so that two web
processes take turns; a line that a crash cut off is taken away by whoever appends next.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils.timezone import now

from runs import audit, masks, signals
from runs.models import Job, Source, Trainer
from runs.readers.confined import DIRECTORY
from runs.readers.naming import PUSHED
from runs.readers.progress import ENDED

#: Of a path below a trainer's folder: bytes of a name and of all, folders in one another, files in all.
MAX_NAME, MAX_PATH, MAX_DEPTH, MAX_FILES = 200, 1_000, 8, 100_000
#: Seconds that a sum of a folder's bytes holds; what we add ourselves is counted in between.
SUM_FOR = 60.0
#: How often it is written down that a job's trainer asked.
ASKED_EVERY = timedelta(seconds=10)
_FILE = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

IN_THE_WAY = "A file stands where this path needs a folder, or a folder where it needs a file. Choose another name."


class Refused(Exception):
    """What cannot be taken; the text says why and the way out."""


class NotHere(Refused):
    """This trainer's deliveries cannot be taken as things are set up."""


class Full(Refused):
    """The trainer's quota is used up, or the disk is full."""


class InTheWay(Refused):
    """A folder stands where a file should, or the other way round."""


def source_of(trainer: Trainer) -> Source:
    """The source of what a trainer pushed, made when it is first needed."""
    known = Source.objects.filter(trainer=trainer, pushed=True, root__startswith=f"{_home()}/").order_by("pk").first()
    source = known or _make(trainer)
    if not source.enabled:
        raise NotHere("What this trainer pushes is disabled here: an admin can enable its source.")
    os.makedirs(source.root, mode=0o750, exist_ok=True)
    return source


def _home() -> str:
    return os.path.join(settings.HOME, "pushed")


def _make(trainer: Trainer) -> Source:
    # another trainer may have had this slug before, even one that is known no more: what it sent is not this one's
    root = os.path.join(_home(), trainer.slug)
    holder = Source.objects.filter(root=root).first()
    if (holder.trainer_id != trainer.pk) if holder else (os.path.isdir(root) and os.listdir(root)):
        root = f"{root}-{trainer.pk}"
    os.makedirs(root, mode=0o750, exist_ok=True)
    source = Source(trainer=trainer, root=root, pushed=True)
    try:
        source.clean()
        with transaction.atomic():
            source.save()
            signals.tell(sources=[source.pk])
    except IntegrityError:  # another process was first
        return Source.objects.get(root=root)
    except ValidationError:
        raise NotHere(
            "A source of this site contains its data directory: an admin must move one of them before anything can be pushed."
        ) from None
    return source


def forsaken() -> list[str]:
    """Names of folders in which something lies that was pushed, and of which no source knows any more."""
    home = _home()
    known = set(Source.objects.filter(root__startswith=f"{home}/").values_list("root", flat=True))
    with suppress(FileNotFoundError), os.scandir(home) as found:
        return sorted(one.name for one in found if one.is_dir(follow_symlinks=False) and one.path not in known)
    return []


def sum_of(name: str) -> tuple[int, int]:
    """Bytes and files of a folder of what was pushed."""
    return _walked(os.path.join(_home(), name))


def forget(name: str, *, by: str) -> None:
    """Delete a forsaken folder."""
    size, files = sum_of(name)
    audit.record(None, "delete pushed files", by=by, folder=name, bytes=size, files=files)
    shutil.rmtree(os.path.join(_home(), name))


def parts_of(path: str) -> list[bytes]:
    """The names of a path that a stranger gave; ValueError, with the way out, for one that we would not have on disk."""
    names = path.split("/")
    if any(name in {"", ".", ".."} or name.startswith(".") for name in names):
        raise ValueError("Use plain names with a single / between them; none may be empty or begin with a dot.")
    if not path.isprintable() or {"\\", "\ufffd"} & set(path) or any(name != name.strip() for name in names):
        raise ValueError("Use printable characters in UTF-8, no backslash, and no blank around a name.")
    if len(names) > MAX_DEPTH or len(path.encode()) > MAX_PATH or any(len(name.encode()) > MAX_NAME for name in names):
        raise ValueError(f"Use at most {MAX_DEPTH} names of {MAX_NAME} bytes each, {MAX_PATH} in all.")
    return [name.encode() for name in names]


def append(source: Source, run: list[bytes], lines: list[bytes]) -> None:
    """Put lines (each with its end) at the end of a run's log of events; they are on disk when this returns."""
    data = b"".join(lines)
    check_room(source, len(data))
    with locked(source, [*run, PUSHED]) as fd:
        _end_at_line(fd)
        new = not os.fstat(fd).st_size
        try:
            write(fd, data)
        except OSError:
            _end_at_line(fd)  # the lines that fit stay: they will come again, and count once
            raise
    count(source, len(data), new)


def _end_at_line(fd: int) -> None:
    """Take the line away that a crash or a full disk has cut off: nobody was told that it is here."""
    size = end = os.fstat(fd).st_size
    while end and os.pread(fd, 1, end - 1) != b"\n":
        begin = max(0, end - 65536)
        found = os.pread(fd, end - begin, begin).rfind(b"\n")
        end = begin + found + 1 if found >= 0 else begin
    if end != size:
        os.ftruncate(fd, end)


def write(fd: int, data: bytes) -> None:
    """Append all of it, down to the disk."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    os.fsync(fd)


@contextmanager
def locked(source: Source, names: list[bytes]) -> Iterator[int]:
    """A file below a source's root, made with its folders where they are missing, locked against other writers.

    What the disk refuses is a Refused.
    """
    try:
        with folder(source, names[:-1]) as above:
            fd = _open_locked(names[-1], above)
            try:
                yield fd
            finally:
                os.close(fd)
    except OSError as refused:
        raise in_words(refused) from refused


def _open_locked(name: bytes, above: int) -> int:
    while True:
        fd = os.open(name, _FILE, 0o640, dir_fd=above)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.EISDIR, "no regular file")
            fcntl.flock(fd, fcntl.LOCK_EX)
            held, there = os.fstat(fd), os.stat(name, dir_fd=above, follow_symlinks=False)
            if (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino):
                if not held.st_size:
                    os.fsync(above)  # else a power cut could take its name away
                return fd
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)  # it was replaced or removed while we waited


@contextmanager
def folder(source: Source, names: list[bytes], *, make: bool = True) -> Iterator[int]:
    """A folder below a source's root, one name after the other, through no link."""
    fd = os.open(source.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in names:
            if make:
                _make_folder(name, fd)
            below = os.open(name, DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = below
        yield fd
    finally:
        os.close(fd)


def _make_folder(name: bytes, above: int) -> None:
    try:
        os.mkdir(name, 0o750, dir_fd=above)
    except FileExistsError:
        return
    os.fsync(above)


def in_words(refused: OSError) -> Refused | OSError:
    """What a disk's refusal means to who sends."""
    if refused.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return Full("The disk here is full. Keep what you have and send it again later.")
    if refused.errno in (errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENXIO):
        return InTheWay(IN_THE_WAY)
    return refused


# What may be taken in all

_sums: dict[int, tuple[float, int, int]] = {}
_sums_lock = threading.Lock()


def check_room(source: Source, size: int) -> None:
    """Raises Full where so many bytes more would go beyond the trainer's quota or fill the disk."""
    used, files = _sum(source)
    quota = settings.TRAINMON_PUSH_QUOTA * 1024**3
    if quota and used + size > quota:
        raise Full(
            f"This trainer's quota of {settings.TRAINMON_PUSH_QUOTA} GiB is used up. An admin can remove runs of it or raise "
            "TRAINMON_PUSH_QUOTA; keep what you have and send it again later.")
    if files >= MAX_FILES:
        raise Full(f"This trainer has {MAX_FILES:,} files here, which is the most. An admin must remove runs of it.")
    disk = os.statvfs(source.root)
    if disk.f_bavail * disk.f_frsize - size < settings.TRAINMON_PUSH_FREE * 1024**2:
        raise Full("The disk here is nearly full. Keep what you have and send it again later.")


def count(source: Source, size: int, files: int) -> None:
    """Add to the sum what was written, maybe into a new file."""
    with _sums_lock:
        if source.pk in _sums:
            at, used, known = _sums[source.pk]
            _sums[source.pk] = (at, used + size, known + files)


def _sum(source: Source) -> tuple[int, int]:
    """Bytes and files of a source, as of a minute ago at most."""
    with _sums_lock:
        at, used, files = _sums.get(source.pk, (0.0, 0, 0))
    if not at or time.monotonic() - at > SUM_FOR:
        used, files = _walked(source.root)
        with _sums_lock:
            _sums[source.pk] = (time.monotonic(), used, files)
    return used, files


def _walked(root: str) -> tuple[int, int]:
    used = files = 0
    for above, _, names in os.walk(os.fsencode(root)):
        files += len(names)
        used += sum(_size(os.path.join(above, name)) for name in names)
    return used, files


def _size(path: bytes) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0


# Shall they stop?

def asked(trainer: Trainer, run: str, names: set[str]) -> list[str]:
    """Of these jobs those that are asked to end; it is written down that their trainer asked.

    Where several runs have a job of the same id, the one of ``run`` is meant if it is among what was pushed.
    """
    called = {masks.name(name)[:200]: name for name in names}
    jobs = Job.objects.filter(source__trainer=trainer, external_id__in=called)
    places = [run.encode(), b"%b/%b" % (run.encode(), PUSHED)]
    here = jobs.filter(source__pushed=True, run__path__in=places)
    if here.exists():
        jobs = here
    frozen_now = now()
    with transaction.atomic():
        first = list(jobs.filter(asked=None).select_for_update(of=("self",)).order_by("pk"))
        if first:  # from now on its page offers to ask it to stop
            Job.objects.filter(pk__in=[job.pk for job in first]).update(asked=frozen_now, version=F("version") + 1)
            signals.tell(jobs={job.pk: job.version + 1 for job in first})
    jobs.filter(asked__lt=frozen_now - ASKED_EVERY).update(asked=frozen_now)
    waiting = jobs.exclude(cancel_requested=None).exclude(status__in=ENDED)
    return sorted({called[name] for name in waiting.values_list("external_id", flat=True)})
