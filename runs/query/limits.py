"""How long a question may keep the database busy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.core.exceptions import BadRequest
from django.db import OperationalError, connection, transaction
from psycopg.errors import QueryCanceled

#: Seconds a single query of a list may take.
PATIENCE = 5
#: What lists are made of lies in memory or on flash: a look at one row is cheaper than PostgreSQL assumes.
LIMIT = "SELECT set_config('statement_timeout', %s, true), set_config('random_page_cost', '1.1', true)"


class TooLarge(BadRequest):
    """The question takes too long: answered with 400 and what to narrow."""


@contextmanager
def bounded(seconds: float = PATIENCE) -> Iterator[None]:
    """Queries in here are given up after so many seconds, with TooLarge."""
    try:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(LIMIT, [str(int(seconds * 1000))])
            yield
    except OperationalError as error:
        if isinstance(error.__cause__, QueryCanceled):
            raise TooLarge(
                f"This list takes more than {seconds:g} s to make. Narrow it: choose a trainer or dataset, or a "
                "shorter time (newer=7d), and sort by a column or a metric that most runs have."
            ) from error
        raise
