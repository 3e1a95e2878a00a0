"""What the kernel tells of a tree, and what a followed source holds open."""

from __future__ import annotations

import ctypes
import gc
import os
from pathlib import Path

from runs.followed import Followed
from runs.inotify import Inotify

AT_FDCWD, EXCHANGE = -100, 2


def exchange(one: Path, other: Path) -> None:
    assert ctypes.CDLL(None).renameat2(AT_FDCWD, bytes(one), AT_FDCWD, bytes(other), EXCHANGE) == 0


def test_folders_that_were_exchanged_are_both_heard_of_under_their_new_names(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    heard = Inotify(str(tmp_path))
    exchange(tmp_path / "a", tmp_path / "b")
    assert heard.look().moved
    for name in "ab":
        (tmp_path / name / f"new in {name}").touch()
    assert heard.look().written == {b"a/new in a", b"b/new in b"}
    heard.close()


def test_a_source_that_is_followed_no_more_leaves_nothing_open(tmp_path):
    gc.collect()  # what other tests have left
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        Followed(1, str(tmp_path), poll=True).stop()
    assert len(os.listdir("/proc/self/fd")) <= before
