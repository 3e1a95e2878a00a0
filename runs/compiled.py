"""Queries whose SQL is the same each time but for its values: Django puts it together once.

Of a list of fifty runs, Django takes longer to compile such a query than PostgreSQL to answer it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from django.db import connection
from django.db.models import Expression, Field, Model, QuerySet

M = TypeVar("M", bound=Model)


class Given(Expression):
    """A value that is told when the query is asked; in the SQL it stands for itself."""

    def __init__(self, name: str) -> None:
        super().__init__(output_field=Field())
        self.name = name

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:  # type: ignore[override]
        """A placeholder."""
        return "%s", (self,)


class Compiled(Generic[M]):
    """The SQL of a queryset in which some values are ``Given``."""

    def __init__(self, asked: QuerySet[M, Any]) -> None:
        self.model = asked.model
        self.sql, self.params = asked.query.sql_with_params()

    def rows(self, **given: Any) -> list[tuple[Any, ...]]:
        """What a queryset of values_list() would tell; its fields are such that the driver's values are ours (no JSON)."""
        with connection.cursor() as cursor:
            cursor.execute(self.sql, self._filled(given))
            return cursor.fetchall()

    def models(self, **given: Any) -> Iterator[M]:
        """The rows as models, with their annotations."""
        return iter(self.model._default_manager.raw(self.sql, self._filled(given)))

    def _filled(self, given: dict[str, Any]) -> list[Any]:
        return [given[one.name] if isinstance(one, Given) else one for one in self.params]
