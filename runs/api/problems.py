"""What the API answers when something is wrong: problem documents (RFC 9457), and nothing of how it came about."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from django.core.exceptions import BadRequest, ObjectDoesNotExist, RequestDataTooBig, SuspiciousOperation
from django.core.exceptions import PermissionDenied as Forbidden
from django.core.exceptions import ValidationError as Invalid
from django.http import Http404, HttpRequest, HttpResponse
from rest_framework import exceptions
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.views import set_rollback

from runs import correlation
from runs.api.rendering import encode

#: The address space of the API, and of its problems.
ROOT = "/api/"
KIND = "urn:trainmon:problem:"

Errors = dict[str, list[str]]


class TooLarge(APIException):
    """A body beyond settings.DATA_UPLOAD_MAX_MEMORY_SIZE."""

    status_code = 413
    default_code = "too_large"
    default_detail = "The body is larger than 2 MiB: send less at once."


class TooMuch(APIException):
    """A question whose answer would be too large; the detail says what to narrow."""

    status_code = 422
    default_code = "too_much"
    default_detail = "The answer would be too large: narrow the question."


class Unavailable(APIException):
    """Something that the site needs does not answer now."""

    status_code = 503
    default_code = "unavailable"
    default_detail = "Something that this needs does not answer now: try again later."
    wait = 10


class Problem(HttpResponse):
    """An answer of the media type application/problem+json, never kept by a cache."""

    def __init__(
        self, request: HttpRequest, status: int, code: str, detail: str,
        errors: Errors | None = None, headers: Mapping[str, str] | None = None,
    ) -> None:
        told: dict[str, Any] = {
            "type": KIND + code.replace("_", "-"),
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": detail,
            "instance": request.path,
            "correlation_id": correlation.current(),
        }
        if errors is not None:
            told["errors"] = errors
        super().__init__(encode(told), status=status, content_type="application/problem+json")
        self.headers["Cache-Control"] = "no-store"
        for name, value in (headers or {}).items():
            self.headers[name] = value


def answer(failure: Exception, context: Mapping[str, Any]) -> HttpResponse | None:
    """REST framework's exception handler; None (an error of ours) goes on to ``handler500``."""
    told = _as_api_exception(failure)
    if told is None:
        return None
    set_rollback()
    request: HttpRequest = context["request"]._request
    headers = dict(getattr(failure, "headers", {}))
    if asked := getattr(failure, "auth_header", None):
        headers["WWW-Authenticate"] = asked
    if wait := getattr(told, "wait", None):
        headers["Retry-After"] = str(math.ceil(wait))
    if isinstance(told, ValidationError):
        errors = dict(_by_field(told.detail))
        return Problem(request, told.status_code, "invalid", _in_words(errors), errors, headers)
    code = getattr(told.detail, "code", told.default_code)
    return Problem(request, told.status_code, code, str(told.detail), getattr(told, "errors", None), headers)


def _as_api_exception(failure: Exception) -> APIException | None:
    """Django's own refusals in REST framework's words."""
    if isinstance(failure, APIException):
        return failure
    if isinstance(failure, Http404 | ObjectDoesNotExist):
        return exceptions.NotFound("There is nothing here, or nothing that you may see.")
    if isinstance(failure, Forbidden):
        return exceptions.PermissionDenied(str(failure) or None)
    if isinstance(failure, Invalid):
        return ValidationError(failure.message_dict if hasattr(failure, "error_dict") else failure.messages)
    if isinstance(failure, RequestDataTooBig):
        return TooLarge()
    if isinstance(failure, BadRequest):
        return exceptions.ParseError(str(failure) or None, code="bad_request")
    if isinstance(failure, SuspiciousOperation):
        return exceptions.ParseError("The request cannot be read.")
    return None


def _by_field(detail: Any, name: str = "") -> Iterator[tuple[str, list[str]]]:
    """Each field's errors; the fields of nested values by dotted names, the whole of the request as "request"."""
    if isinstance(detail, Mapping):
        for key, inner in detail.items():
            key = "request" if key in {"non_field_errors", "__all__"} else str(key)
            yield from _by_field(inner, f"{name}.{key}" if name else key)
    elif isinstance(detail, list):
        words = [str(one) for one in detail if not isinstance(one, Mapping | list)]
        if words:
            yield name or "request", words
        for position, inner in enumerate(detail):
            if isinstance(inner, Mapping | list):
                yield from _by_field(inner, f"{name}.{position}" if name else str(position))
    else:
        yield name or "request", [str(detail)]


def _in_words(errors: Errors) -> str:
    """The first few errors in a sentence each, so that a plain log line already says what is wrong."""
    told = [f"{name}: {' '.join(words)}" if name != "request" else " ".join(words) for name, words in errors.items()]
    return " ".join(told[:5]) + (f" ({len(told) - 5} more)" if len(told) > 5 else "")


def is_api(request: HttpRequest) -> bool:
    """Whether this address belongs to the API, and so gets problem documents instead of pages."""
    return request.path.startswith(ROOT)
