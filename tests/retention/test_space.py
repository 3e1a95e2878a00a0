"""How full file systems are: real ones, and one that does not answer."""

from __future__ import annotations

import os
import threading
import time
from datetime import timedelta

from retention.space import Space, Volumes, space_of


def test_a_file_system_tells_its_size_and_where_it_is_mounted(tmp_path):
    space, told = space_of(os.fspath(tmp_path)), os.statvfs(tmp_path)
    assert space.total == told.f_blocks * told.f_frsize and 0 < space.share < 1
    assert os.path.ismount(space.mount) and tmp_path.is_relative_to(space.mount)
    assert space.device == os.stat(tmp_path).st_dev


def test_a_mount_that_hangs_holds_nobody_up_and_is_asked_by_one_thread_only():
    hangs, asked = threading.Event(), []

    def ask(root: str) -> Space:
        asked.append(root)
        if root == "/dead":
            hangs.wait()
        return Space(1, "/", 10, 4, 6)

    volumes = Volumes(ask)
    before = time.monotonic()
    for _ in range(3):  # only the first waits at all
        told = volumes.standing(["/dead", "/good"], patience=0.1)
    assert time.monotonic() - before < 0.5
    assert asked.count("/dead") == 1 and told["/dead"].silent is not None and told["/dead"].space is None
    assert told["/good"].space is not None and told["/good"].silent is None
    hangs.set()
    while (late := volumes.standing(["/dead"])["/dead"]).silent:
        time.sleep(0.01)
    assert late.space == Space(1, "/", 10, 4, 6)


def test_the_last_figures_of_a_folder_that_is_gone_stay_with_their_time_and_what_is_wrong(tmp_path, monkeypatch):
    volumes, root = Volumes(), tmp_path / "logs"
    root.mkdir()
    known = volumes.standing([os.fspath(root)])[os.fspath(root)]
    monkeypatch.setattr("retention.space.FRESH", timedelta(0))
    root.rmdir()
    gone = volumes.standing([os.fspath(root)])[os.fspath(root)]
    assert (gone.space, gone.at, gone.error) == (known.space, known.at, "No such file or directory")
