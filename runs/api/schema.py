"""The API describes itself: OpenAPI from its own views (description.py serves it)."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from rest_framework import serializers


class Problem(serializers.Serializer):
    """What is wrong, by RFC 9457."""

    type = serializers.CharField(help_text="urn:trainmon:problem: and a word that stays the same.")
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField(help_text="What is wrong with this very request, and the way out.")
    instance = serializers.CharField(help_text="The path asked for.")
    correlation_id = serializers.CharField(help_text="Of the request, as its header X-Correlation-ID; the log has it, too.")
    errors = serializers.DictField(  # type: ignore[assignment]
        child=serializers.ListField(child=serializers.CharField()), required=False, help_text="By field or parameter."
    )


#: The media type of refusals.
PROBLEM = "application/problem+json"
#: What any operation may answer beside its own answers.
REFUSALS = {
    "400": "The request is wrong; `errors` names each field.",
    "401": "No valid token or session.",
    "403": "Not allowed to this user or to a token of this scope.",
    "429": "Too many calls; Retry-After says when to come again.",
}
NOT_FOUND = {"404": "There is nothing here, or nothing that the caller may see."}
#: Of what reads points, however it is asked for.
OF_POINTS = {**NOT_FOUND, "422": "The answer would be too large; `detail` says what to narrow."}
WITH_BODY = {"413": "The body is too large.", "415": "The body is not JSON."}
#: The nouns whose answers are made of points.
POINTS = ("series", "compare")


class Schema(AutoSchema):
    """Every operation with its refusals, grouped by noun."""

    def get_tags(self) -> list[str]:
        """The noun: the first part of the path behind /api/."""
        parts = self.path.strip("/").split("/")
        return [parts[1] if len(parts) > 1 else "root"]

    def get_summary(self) -> str:
        """What the method's docstring says first: the line that a list of calls shows."""
        return str(self.get_description() or "").split("\n")[0].removesuffix(".")

    def get_operation(self, *args: Any, **kwargs: Any) -> Any:
        """The operation and what it may refuse."""
        operation = super().get_operation(*args, **kwargs)
        if operation is not None:
            refusals = {**REFUSALS, **(NOT_FOUND if "{" in self.path else {})}
            refusals |= OF_POINTS if operation["tags"][0] in POINTS or self.path.endswith("/export/") else {}
            refusals |= WITH_BODY if "requestBody" in operation else {}
            problem = self.resolve_serializer(Problem, "response").ref
            content = {PROBLEM: {"schema": problem}}
            for status, why in refusals.items():
                operation["responses"].setdefault(status, {"description": why, "content": content})
        return operation


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How a token is given."""

    target_class = "runs.api.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        """A bearer token."""
        return {"type": "http", "scheme": "bearer", "description": "A token of your account page: tmon_..."}


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How a page calls."""

    target_class = "runs.api.authentication.PageAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        """The cookie of a signed-in browser."""
        return {"type": "apiKey", "in": "cookie", "name": "sessionid"}
