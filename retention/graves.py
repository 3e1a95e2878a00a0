"""Bury, bring back, purge: a run's folder is renamed into the trash, and deleted from there only.

Each of these may be killed at any moment and asked again: it looks at the disk and finishes.
``bury`` writes an inventory, then renames; a grave whose purge has begun is called `.purging`, so
that half a run is never brought back.  The inventory stays until ``forget``, which the caller asks
when its own journal is written: by it alone "done" is told from "another volume is mounted".
Everything goes through directory descriptors, and nothing is followed.  No Django here.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from retention.files import (
    Descent,
    Entry,
    Gone,
    Refused,
    below,
    closing,
    digest,
    entered,
    lies,
    listing,
    move,
    on_disk,
    open_parent,
    open_root,
    parts,
    refusal,
    shown,
)
from retention.inventory import LIST, Inventory, remove
from retention.trash import reserve, trash_for, trash_of, trash_with
from runs.readers.tree import join

__all__ = ["Grave", "Stuck", "bury", "exhume", "forget", "grown", "purge", "ready", "trash_of", "whole"]

PURGING = b".purging"
NAME = re.compile(r"[0-9A-Za-z_-]{1,100}")
#: The same file system, and yet no rename.
LAYERED = "it lies in a lower layer of an overlay (part of a container's image), or under another project quota than the trash"


class Stuck(Refused):
    """A run that nothing protects, but that cannot be moved."""


@dataclass(frozen=True, slots=True)
class Grave:
    """A buried run.  ``changed`` is what somebody wrote meanwhile where it could not be put back."""

    name: str
    path: bytes
    inode: int
    entries: tuple[Entry, ...]
    changed: tuple[Entry, ...] = ()


def ready(root: bytes | str, path: bytes) -> None:
    """Refused where we may not move a run: told before it is archived for nothing, each time anew."""
    trash = trash_of(root)
    with open_parent(root, path) as (parent, last):
        # a folder that goes elsewhere is written itself: its ".." changes
        places = [name for name in (trash, b".", last) if lies(parent, name)]
        if not all(os.access(place, os.W_OK, dir_fd=parent) for place in places):
            raise Refused(f"cannot be moved: its volume is read-only, or the user with the id {os.geteuid()} may not write there")
        if _is_sticky(parent, last):
            raise Refused(f"cannot be moved: only its owner may do that, in a folder with the sticky bit; we are {os.geteuid()}")


def _is_sticky(parent: int, name: bytes) -> bool:
    """Whether the folder above lets only the owner of a thing move it, and that is not us."""
    above = os.fstat(parent)
    owners = {0, above.st_uid, os.stat(name, dir_fd=parent, follow_symlinks=False).st_uid}
    return bool(above.st_mode & stat.S_ISVTX) and os.geteuid() not in owners


def bury(root: bytes | str, path: bytes, name: str, expected: str) -> Grave:
    """Move a run's folder to the trash under a name of its own, if it still is what was confirmed.

    ``expected`` is the digest of its listing.  What changes in that very moment is put back, and Refused.
    """
    parts(path)
    with closing(trash_for(root, grave := _bytes(name))) as trash:
        if lies(trash, grave):
            inventory = _inventory(trash, grave)
            if (inventory.path, inventory.digest) != (path, expected):
                raise Refused(f"something else lies in the trash as {name}")
            _sync(root, path, trash)
        else:
            inventory = _laid(root, path, trash, grave, expected)
        changed = _changed(trash, grave, inventory)
        if changed and _put_back(root, path, trash, grave):
            raise Refused(f"{_where(changed[0])} changed while it was buried; the run is back in its place")
    return Grave(name, path, inventory.inode, inventory.entries, tuple(changed))


def exhume(root: bytes | str, name: str, path: bytes) -> None:
    """Bring a buried run back, here or to another path of its root, never over something."""
    above = parts(path)[:-1]
    with closing(trash_with(root, grave := _bytes(name))) as trash:
        if lies(trash, grave + PURGING):
            raise Refused(f"the files of {name} are being deleted already")
        if lies(trash, grave):
            make_folders(root, above)
            with open_parent(root, path) as (parent, last):
                _moved(trash, grave, parent, last, path)
        elif not _is_at(root, path, _inventory(trash, grave)):
            raise Gone(f"{name} is not in the trash")
        _sync(root, path, trash)


def grown(root: bytes | str, name: str, expected: str) -> list[Entry]:
    """What changed in a grave since it was dug: new or different entries as they are, then missing ones."""
    with closing(trash_with(root, grave := _bytes(name))) as trash:
        inventory = _inventory(trash, grave)
        if inventory.digest != expected:
            raise Refused(f"something else lies in the trash as {name}")
        return inventory.changes(_listing(trash, grave))


def whole(root: bytes | str, name: str) -> bool:
    """Whether a buried run lies there with all its files; not where its purge has begun.  Gone where no trash knows it."""
    with closing(trash_with(root, grave := _bytes(name))) as trash:
        return lies(trash, grave)


def purge(root: bytes | str, name: str, progress: Callable[[int], None] = lambda freed: None) -> int:
    """Delete a buried run and say how many bytes that freed, those before a kill included.

    ``progress`` gets the bytes freed so far.  What is not as it was buried stops it before anything is deleted.
    """
    with closing(trash_with(root, grave := _bytes(name))) as trash:
        inventory = _inventory(trash, grave)
        if lies(trash, grave):
            for entry in inventory.changes(_listing(trash, grave))[:1]:
                raise Refused(f"{_where(entry)} changed since it was buried: bring {name} back, or look at it")
            _moved(trash, grave, trash, grave + PURGING, grave)
            os.fsync(trash)
        if not lies(trash, grave + PURGING):
            return on_disk(inventory.entries)
        freed = _Purge(inventory, progress).delete(trash, grave + PURGING)
        os.fsync(trash)
        reserve(trash)
    return freed


def forget(root: bytes | str, name: str) -> None:
    """Drop the inventory of a grave that is empty now: the journal knows what became of it."""
    grave = _bytes(name)
    with suppress(Gone), closing(trash_with(root, grave)) as trash:
        if lies(trash, grave) or lies(trash, grave + PURGING):
            raise Refused(f"{name} still lies in the trash")
        remove(trash, grave + LIST)
        os.fsync(trash)


class _Purge:
    """One deletion: what may go, and what that has freed."""

    def __init__(self, inventory: Inventory, progress: Callable[[int], None]) -> None:
        self.inventory, self.listed = inventory, {entry.path: entry for entry in inventory.entries}
        self.progress = progress
        self.freed = 0

    def delete(self, trash: int, name: bytes) -> int:
        """Delete a grave and all that lies in it."""
        with closing(entered(trash, name, name)) as fd:
            self._look(listing(fd))
            descent = Descent(fd)
        try:
            self._down(descent)
            os.rmdir(name, dir_fd=trash)
        except OSError as error:
            raise Refused(f"{name.decode()} cannot be deleted: {error.strerror}") from None
        finally:
            descent.close()
        return self.freed

    def _look(self, entries: list[Entry]) -> None:
        """Nothing is deleted before each entry is seen to be one that was buried; what is gone went before a kill."""
        there = {entry.path for entry in entries}
        self.freed = on_disk(entry for path, entry in self.listed.items() if path not in there)
        for entry in entries:
            self._check(entry)

    def _check(self, entry: Entry) -> None:
        was = self.listed.get(entry.path)
        if not was or not self.inventory.same(was, entry):
            raise Refused(f"{_where(entry)} appeared or changed after the deletion had begun; it is left where it is")

    def _down(self, descent: Descent) -> None:
        """Files first, then each folder when it is empty."""
        way: list[Entry] = []
        waiting = [self._unlink(descent.fd, self.listed[b""])]
        while waiting:
            if waiting[-1]:
                way.append(waiting[-1].pop())
                descent.down(_last(way[-1]))
                waiting.append(self._unlink(descent.fd, way[-1]))
            else:
                waiting.pop()
                if way:
                    descent.up()
                    os.rmdir(_last(way.pop()), dir_fd=descent.fd)

    def _unlink(self, fd: int, folder: Entry) -> list[Entry]:
        """Delete the files of an open folder; returns its folders."""
        folders = []
        for name in map(os.fsencode, os.listdir(fd)):
            entry = Entry.of(join(folder.path, name), os.stat(name, dir_fd=fd, follow_symlinks=False))
            self._check(entry)
            if entry.kind == "folder":
                folders.append(entry)
                continue
            os.unlink(name, dir_fd=fd)
            self.freed += 512 * entry.blocks if entry.links == 1 else 0
            self.progress(self.freed)
        return folders


def _laid(root: bytes | str, path: bytes, trash: int, grave: bytes, expected: str) -> Inventory:
    """Move a run's folder into the trash, its list first; returns the list."""
    with open_parent(root, path) as (parent, last):
        with closing(entered(parent, last, path)) as fd:
            entries = listing(fd)
        if digest(entries) != expected:
            remove(trash, grave + LIST)
            raise Refused(f"{shown(path)} changed since it was confirmed")
        inventory = Inventory(path, tuple(entries))
        inventory.write(trash, grave)
        try:
            _moved(parent, last, trash, grave, path)
        except Refused:
            _unlisted(trash, grave)
            raise
        os.fsync(parent)
    os.fsync(trash)
    return inventory


def _unlisted(trash: int, grave: bytes) -> None:
    """Remove the list of what was not moved."""
    if not lies(trash, grave):
        remove(trash, grave + LIST)


def _moved(source: int, name: bytes, target: int, new: bytes, path: bytes) -> None:
    try:
        move(source, name, target, new)
    except FileExistsError:
        raise Refused(f"something is at {shown(path)} now") from None
    except OSError as error:
        why = LAYERED if error.errno == errno.EXDEV else error.strerror
        raise Stuck(f"{shown(path)} cannot be moved: {why}") from None


def _changed(trash: int, grave: bytes, inventory: Inventory) -> list[Entry]:
    """What is not as it was listed; the folder itself where nobody can tell any more."""
    try:
        return inventory.changes(_listing(trash, grave))
    except Refused:
        return [inventory.entries[0]]


def _put_back(root: bytes | str, path: bytes, trash: int, grave: bytes) -> bool:
    """Whether a grave that was dug too early is in its old place again; not where something else is there now."""
    try:
        with open_parent(root, path) as (parent, last):
            move(trash, grave, parent, last)
    except (Refused, OSError):
        return False
    _sync(root, path, trash)
    remove(trash, grave + LIST)
    return True


def _sync(root: bytes | str, path: bytes, trash: int) -> None:
    """Both sides of a rename are on disk; the old side may be gone when this is asked again."""
    with suppress(Refused), open_parent(root, path) as (parent, _):
        os.fsync(parent)
    os.fsync(trash)


def make_folders(root: bytes | str, above: list[bytes]) -> None:
    """The folders on the way to a path, where somebody has deleted them meanwhile."""
    fd = open_root(root)
    try:
        for name in above:
            with suppress(FileExistsError):
                os.mkdir(name, 0o755, dir_fd=fd)
                os.fsync(fd)
            there = below(fd, name)
            os.close(fd)
            fd = there
    except OSError as error:
        raise refusal(b"/".join(above), error) from None
    finally:
        os.close(fd)


def _inventory(trash: int, grave: bytes) -> Inventory:
    try:
        return Inventory.read(trash, grave)
    except FileNotFoundError:
        raise Refused(f"there is no list of what was buried as {grave.decode()}") from None
    except OSError as error:
        raise Refused(f"the list of what was buried as {grave.decode()} cannot be read: {error.strerror}") from None


def _listing(trash: int, grave: bytes) -> list[Entry]:
    with closing(entered(trash, grave, grave)) as fd:
        return listing(fd)


def _is_at(root: bytes | str, path: bytes, inventory: Inventory) -> bool:
    """Whether the folder at a path is the one that was buried, or one with all of it where inode numbers do not last."""
    with suppress(Refused), open_parent(root, path) as (parent, last), closing(entered(parent, last, path)) as fd:
        return os.fstat(fd).st_ino == inventory.inode or not (inventory.numbered or inventory.changes(listing(fd)))
    return False


def _last(entry: Entry) -> bytes:
    return entry.path.rpartition(b"/")[2]


def _where(entry: Entry) -> str:
    return shown(entry.path) if entry.path else "the run's folder"


def _bytes(name: str) -> bytes:
    if not NAME.fullmatch(name):
        raise Refused(f"{name!r} cannot be the name of a grave: letters, digits, - and _ only")
    return name.encode()
