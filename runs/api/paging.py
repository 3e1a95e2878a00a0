"""Pages by key: each begins where the last one ended, however many rows come or go meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drf_spectacular.utils import inline_serializer
from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from runs.api.shapes import INT64, Strict

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from rest_framework.request import Request

DEFAULT, MOST = 50, 500


class PageQuery(Strict):
    """Which page of rows that are ordered by id."""

    limit = serializers.IntegerField(
        min_value=1, max_value=MOST, default=DEFAULT, help_text=f"Rows of a page, at most {MOST}."
    )
    after = serializers.IntegerField(
        min_value=0, max_value=INT64, required=False, help_text="Rows behind this one: from `next`, or the last id seen."
    )
    before = serializers.IntegerField(
        min_value=0, max_value=INT64, required=False, help_text="Rows before this one: from `previous`."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """One direction at a time."""
        if "after" in attrs and "before" in attrs:
            raise ValidationError("Give after or before, not both.")
        return attrs


class NamePageQuery(PageQuery):
    """Which page of rows that are ordered by a name."""

    after = serializers.CharField(  # type: ignore[assignment]
        max_length=10_000, trim_whitespace=False, allow_blank=True, required=False, help_text="Names behind this one."
    )
    before = serializers.CharField(  # type: ignore[assignment]
        max_length=10_000, trim_whitespace=False, allow_blank=True, required=False, help_text="Names before this one."
    )
    prefix = serializers.CharField(
        max_length=1000, trim_whitespace=False, allow_blank=True, required=False, help_text="Only names that begin so."
    )


def page(request: Request, asked: dict[str, Any], rows: QuerySet[Any, Any], key: str = "id") -> dict[str, Any]:
    """The rows asked for, ordered by ``key``, and the addresses of the pages around them."""
    limit, back = asked["limit"], "before" in asked
    cursor = asked.get("before", asked.get("after"))
    if cursor is not None:
        rows = rows.filter(**{f"{key}__{'lt' if back else 'gt'}": cursor})
    found = list(rows.order_by(f"-{key}" if back else key)[: limit + 1])
    more, found = len(found) > limit, found[:limit]
    if back:
        found.reverse()
    return {
        "results": found,
        "next": link(request, "after", found[-1][key]) if found and (more or back) else None,
        "previous": link(request, "before", found[0][key]) if found and (more if back else cursor is not None) else None,
    }


def link(request: Request, name: str, cursor: Any) -> str:
    """The address of this request with another cursor."""
    query = request.query_params.copy()
    for one in ("after", "before"):
        query.pop(one, None)
    query[name] = str(cursor)
    return f"{request.path}?{query.urlencode()}"


def page_of(row: type[serializers.Serializer]) -> Any:
    """The shape of a page of such rows."""
    return inline_serializer(f"PageOf{row.__name__}", {
        "results": row(many=True),
        "next": serializers.CharField(allow_null=True, help_text="The page behind this one; null at the end."),
        "previous": serializers.CharField(allow_null=True, help_text="The page before this one."),
    })
