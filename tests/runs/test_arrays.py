"""Arrays as PostgreSQL reads them: every value comes back as it was."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from django.db import connection
from psycopg import Binary
from psycopg.types.json import Jsonb

from runs.arrays import literal, literals
from runs.models.run import Status

HOSTILE = ['', 'NULL', 'a "quoted" \\ back\\\\slash', "it's {1,2}, %s", "line\nend\ttab", "öß 漢字 \u202e", "x" * 10_000]


def returned(kind: str, values: list[Any]) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT %s::{kind}[]", [literal(values)])
        (found,) = cursor.fetchone()
    return list(found)


@pytest.mark.django_db
@pytest.mark.parametrize(("kind", "values"), [
    ("int8", [0, -(2**63), 2**63 - 1, None]),
    ("float8", [0.1, -0.0, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, None]),
    ("text", [*HOSTILE, None]),
    ("bytea", [b"", b"\\x00\x00\xff\"'", bytes(range(256)), None]),
    ("bool", [True, False, None]),
    ("numeric", [Decimal("18446744073709551615"), 7, None]),
    ("timestamptz", [datetime(2026, 11, 26, 4, 5, 6, 789, UTC), None]),
    ("int8", []),
])
def test_values_come_back_as_they_were(kind: str, values: list[Any]):
    assert returned(kind, values) == values


@pytest.mark.django_db
def test_json_kinds_of_text_and_numpys_numbers_come_back():
    said = {"a": HOSTILE, "b": [1, None, True, 1.5]}
    assert json.loads(returned("jsonb", [Jsonb(said), None])[0]) == said
    assert returned("text", [Status.RUNNING]) == ["running"]
    assert returned("bytea", [Binary(b"\x00'"), memoryview(b"x")]) == [b"\x00'", b"x"]
    assert returned("int8", [np.int64(7), np.uint64(8)]) == [7, 8]
    assert math.copysign(1, returned("float8", [np.float64(-0.0)])[0]) == -1
    assert math.isnan(returned("float8", [math.nan])[0])
    assert literals([(1, "a"), (2, None)]) == ["{1,2}", '{"a",NULL}']


def test_what_no_array_can_hold_is_said():
    with pytest.raises(TypeError, match="object"):
        literal([object()])
