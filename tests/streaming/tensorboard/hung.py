"""A file system that does not answer, as a network one whose server is away: whoever looks into it waits in the kernel."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from streaming.tensorboard import kernel

MNT_FORCE, FUSE_INIT = 1, 26
#: Version 7.31 and the sizes of a beginning (fuse_init_out of linux/fuse.h).
BEGUN = struct.pack("4I2H2I2H8I", 7, 31, 65536, 0, 0, 0, 65536, 1, *[0] * 10)


@contextmanager
def hung(folder: Path) -> Iterator[None]:
    """Mounted there; afterwards all who wait are told that it is gone."""
    try:
        fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        given = f"fd={fuse},rootmode=40000,user_id=0,group_id=0,allow_other"
        kernel.mount("fuse", str(folder), kernel.MS_NOSUID | kernel.MS_NODEV, given)
    except OSError as error:
        pytest.skip(f"no file system of our own can be mounted here: {error}")

    def hear() -> None:
        with suppress(OSError):  # it ends with the mount
            while said := os.read(fuse, 1 << 18):  # what was heard and is not answered no signal ends
                _, asked, number = struct.unpack_from("IIQ", said)
                if asked == FUSE_INIT:
                    os.write(fuse, struct.pack("IiQ", 80, 0, number) + BEGUN)

    threading.Thread(target=hear, daemon=True).start()
    try:
        yield
    finally:
        for flag in (MNT_FORCE, kernel.MNT_DETACH):  # the first tells them, and may find it busy
            kernel._libc.umount2(os.fsencode(folder), flag)
        os.close(fuse)
