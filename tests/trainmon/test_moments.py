"""Times from PostgreSQL are what Django would have made of them, to the microsecond."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import DataError, connection
from hypothesis import given
from hypothesis import strategies as st
from psycopg.pq import Format

from trainmon.moments import Moment


def asked(sql: str, *params: object) -> object:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {sql}", params)
        (value,) = cursor.fetchone()
    return value


@pytest.mark.django_db
@given(st.datetimes(timezones=st.just(UTC)))
def test_every_time_comes_back_as_it_went_in(at: datetime) -> None:
    assert asked("%s::timestamptz", at) == at
    assert asked("%s::timestamptz", at).tzinfo is UTC


@pytest.mark.django_db
def test_each_connection_reads_its_times_with_the_interpreters_parser() -> None:
    asked("1")
    known = connection.connection.adapters
    assert known.get_loader(known.types["timestamptz"].oid, Format.TEXT) is Moment
    assert asked("array[%s::timestamptz]", at := datetime(2026, 3, 29, 1, 30, tzinfo=UTC)) == [at]
    assert asked("'2026-03-29 03:30+02'::timestamptz - interval '1 second'") == at - timedelta(seconds=1)


@pytest.mark.django_db
@pytest.mark.parametrize("beyond", ["infinity", "-infinity", "0044-01-01 BC", "12026-01-01"])
def test_a_time_beyond_the_calendar_is_named_as_psycopg_does(beyond: str) -> None:
    with pytest.raises(DataError, match="timestamp too"):
        asked("%s::timestamptz", beyond)
