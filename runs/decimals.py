"""Numbers as text that reads back as the same bits, a column at a time.

msgspec writes the shortest decimal of a float64 (0.15 us a value, repr takes 0.6); a
float32 is first rounded to as few digits as tell it from its neighbours.
"""

from __future__ import annotations

import msgspec
import numpy as np

#: How what is no number is written in CSV, and in JSON (a string there).
CSV = ("NaN", "inf", "-inf")
JSON = ('"NaN"', '"Infinity"', '"-Infinity"')

_encode = msgspec.json.Encoder().encode


def texts(column: np.ndarray, spelled: tuple[str, str, str] = CSV) -> list[bytes]:
    """Each value of a column (at least one) as text; whole numbers without a point, truth as 0 and 1."""
    if column.dtype.kind in "iub":
        return joined(column).split(b",")
    numbers = shortest(column)
    words = _encode(numbers.tolist())[1:-1].split(b",")
    for place in np.flatnonzero(~np.isfinite(numbers)).tolist():
        value = numbers[place]
        words[place] = spelled[0 if value != value else 1 if value > 0 else 2].encode()
    return words


def joined(column: np.ndarray) -> bytes:
    """A column as the inside of a JSON array."""
    if column.dtype.kind == "b":
        column = column.view(np.uint8)
    if column.dtype.kind in "iu":
        return _encode(column.tolist())[1:-1]
    if np.isfinite(column).all():
        return _encode(shortest(column).tolist())[1:-1]
    return b",".join(texts(column, JSON))


def shortest(column: np.ndarray) -> np.ndarray:
    """Float64 values whose shortest decimals read back as the same float32 (or float16); float64 as it is."""
    wide = column.astype(np.float64)
    if column.dtype.itemsize == 8:
        return wide
    found = wide.copy()
    open_ = np.isfinite(wide) & (wide != 0)
    power = np.floor(np.log10(np.abs(np.where(open_, wide, 1.0))))
    with np.errstate(over="ignore"):
        for digits in (6, 7, 8, 9):
            up, down = 10.0 ** np.maximum(digits - 1 - power, 0), 10.0 ** np.maximum(power - digits + 1, 0)
            rounded = np.rint(wide * up / down) / up * down
            fits = open_ & (rounded.astype(column.dtype) == column)
            found[fits] = rounded[fits]
            open_ &= ~fits
    return found
