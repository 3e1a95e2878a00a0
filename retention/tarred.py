"""The bytes of a tar file, ours to the last: a pure function of what is in it.

Whoever reads an archive of ours computes each header from the manifest and expects just these bytes.  So no
header is ever interpreted: a link, a device, ``..``, a member too many or one of another size is a difference.
The format is POSIX.1-2001 (pax), as GNU tar and Python's tarfile read it.
"""

from __future__ import annotations

from typing import Final

BLOCK: Final = 512
FILE, FOLDER, EXTENDED = b"0", b"5", b"x"
#: What ends an archive.
END: Final = bytes(2 * BLOCK)
#: The largest number in the eleven octal digits of a header.
LARGEST: Final = 8**11 - 1
NAME: Final = 100


def header(name: bytes, kind: bytes, size: int, mode: int, mtime_ns: int) -> bytes:
    """What stands before the content of a member."""
    records = _records(name, size, mtime_ns)
    whole = _block(name, kind, size, mode, mtime_ns // 10**9)
    if not records:
        return whole
    return _block(b"pax", EXTENDED, len(records), 0o600, 0) + records + padding(len(records)) + whole


def padding(size: int) -> bytes:
    """What fills the last block of a content of this size."""
    return bytes(-size % BLOCK)


def _records(name: bytes, size: int, mtime_ns: int) -> bytes:
    """What a plain header cannot say: a long name, a large size, a time to the nanosecond."""
    found = []
    if len(name) > NAME:
        if not _is_utf8(name):
            found.append(_record(b"hdrcharset", b"BINARY"))
        found.append(_record(b"path", name))
    if size > LARGEST:
        found.append(_record(b"size", b"%d" % size))
    if mtime_ns % 10**9 or not 0 <= mtime_ns // 10**9 <= LARGEST:
        seconds, rest = divmod(abs(mtime_ns), 10**9)
        found.append(_record(b"mtime", b"%s%d.%09d" % (b"-" if mtime_ns < 0 else b"", seconds, rest)))
    return b"".join(found)


def _record(key: bytes, value: bytes) -> bytes:
    """``key=value`` after its own length, which counts its own digits."""
    rest = b" %s=%s\n" % (key, value)
    length = len(rest) + len(str(len(rest)))
    length = len(rest) + len(str(length))
    return b"%d%s" % (length, rest)


def _is_utf8(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True


def _block(name: bytes, kind: bytes, size: int, mode: int, mtime: int) -> bytes:
    fields = [
        name[:NAME].ljust(NAME, b"\0"), b"%07o\0" % mode, b"0000000\0", b"0000000\0",
        b"%011o\0" % min(size, LARGEST), b"%011o\0" % min(max(mtime, 0), LARGEST), b" " * 8, kind, bytes(100),
        b"ustar\x0000", bytes(64), b"0000000\0", b"0000000\0", bytes(167),
    ]
    whole = b"".join(fields)
    return whole[:148] + b"%06o\0 " % sum(whole) + whole[156:]
