"""The API's first page, its last one, and who is calling."""

from __future__ import annotations

from typing import Any

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from runs import roles
from runs.api.authentication import token_of
from runs.api.base import ApiView
from runs.models import ApiToken

#: Collections that the root lists, by their route's name.
LISTED = ("me", "runs", "runs-totals", "jobs", "trainers", "sources", "series", "tags", "cleanups", "trash", "schema", "docs")

ADDRESSES = {"type": "object", "additionalProperties": {"type": "string"}}


class Root(ApiView):
    """Where things are."""

    @extend_schema(operation_id="root", responses={(200, "application/json"): ADDRESSES})
    def get(self, request: Request) -> Response:
        """The addresses of all collections."""
        return Response({name: reverse(f"api:{name}") for name in LISTED})


class TokenOfCaller(serializers.Serializer):
    """The token that a call came with."""

    name = serializers.CharField()
    scope = serializers.ChoiceField(ApiToken.Scope.choices)
    expires = serializers.DateTimeField(allow_null=True)


class Caller(serializers.Serializer):
    """Who calls, and what they may do."""

    username = serializers.CharField()
    roles = serializers.ListField(child=serializers.CharField(), help_text="Of viewer, operator, admin.")
    sees_everything = serializers.BooleanField(help_text="Whether no trainer is hidden.")
    permissions = serializers.ListField(child=serializers.CharField(), help_text="Of the registry, as app.codename.")
    token = TokenOfCaller(allow_null=True, help_text="Null for the session of a page.")


class Me(ApiView):
    """The caller."""

    conditional = False

    @extend_schema(operation_id="me", responses=Caller)
    def get(self, request: Request) -> Response:
        """Who I am, my roles, and the scope of the token that I came with."""
        user, token = request.user, token_of(request)
        names = (roles.VIEWER, roles.OPERATOR, roles.ADMIN)
        mine = set(user.groups.filter(name__in=names).values_list("name", flat=True))
        key = {"name": token.name, "scope": token.scope, "expires": token.expires} if token else None
        return Response({
            "username": user.get_username(),
            "roles": [name for name in names if name in mine],
            "sees_everything": roles.sees_everything(user),
            "permissions": sorted(one for one in user.get_all_permissions() if one.startswith("runs.")),
            "token": key,
        })


@extend_schema(exclude=True)
class Nowhere(ApiView):
    """Every other address below /api/."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Strangers are asked who they are first, then there is nothing."""
        super().initial(request, *args, **kwargs)
        hint = "" if request.path.endswith("/") else " Addresses of the API end with a slash."
        raise NotFound(f"There is no such address.{hint}")
