"""What bodies, query strings and answers are made of: serializers that refuse what is not theirs, and our own fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

from django.core.exceptions import ValidationError as Invalid
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from runs.query.asking import Question

INT64 = 2**63 - 1
NUMBER = {
    "oneOf": [{"type": "number"}, {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}],
    "description": "A 64-bit float; what JSON has no number for is a word.",
}


Asked = TypeVar("Asked", bound=Question)


def allowed(asked: Asked) -> Asked:
    """A question all of whose parameters exist and mean something; what is wrong is told by parameter."""
    errors: dict[str, Any] = {name: list(told) for name, told in asked.errors.items()}
    errors |= {name[:100]: ["There is no such parameter."] for name in asked.query.keys() - asked.fields.keys()}
    if errors:
        raise ValidationError(errors)
    return asked


class Strict(serializers.Serializer):
    """A serializer that names each field that does not exist or is not the caller's to set."""

    def to_internal_value(self, data: Any) -> Any:
        """The values, or every error at once."""
        if isinstance(data, Mapping):
            unknown = {str(name)[:100]: ["There is no such field here to be set."] for name in data if name not in self.fields}
            if unknown:
                known = ", ".join(self.fields) or "none"
                raise ValidationError(unknown | {"request": [f"The fields are: {known}."]})
        return super().to_internal_value(data)

    @classmethod
    def body(cls, request: Request, **options: Any) -> dict[str, Any]:
        """What the body of a request says."""
        return cls._checked(request.data, **options)

    @classmethod
    def query(cls, request: Request) -> dict[str, Any]:
        """What the query string of a request says; only ``Choices`` are given several times."""
        several = {name for name, field in cls().fields.items() if isinstance(field, Choices)}
        said = {name: values if name in several else values[-1] for name, values in request.query_params.lists()}
        twice = [name for name, values in request.query_params.lists() if len(values) > 1 and name not in several]
        if twice:
            raise ValidationError({name[:100]: ["This is given more than once."] for name in twice})
        return cls._checked(said)

    @classmethod
    def _checked(cls, data: Any, **options: Any) -> dict[str, Any]:
        form = cls(data=data, **options)
        form.is_valid(raise_exception=True)
        return form.validated_data


@extend_schema_field(NUMBER)
class Number(serializers.FloatField):
    """A float that may be NaN or infinite."""

    def to_representation(self, value: Any) -> Any:
        """As it is; the renderer spells it."""
        return float(value)


class Whole(serializers.IntegerField):
    """An integer of 64 bits."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"min_value": -INT64 - 1, "max_value": INT64, **options})


class Choices(serializers.ListField):
    """A parameter that may be given several times."""


@contextmanager
def named(field: str) -> Iterator[None]:
    """Tell of a value that a deed refuses by the field that it came in."""
    try:
        yield
    except Invalid as refusal:
        raise ValidationError({field: refusal.messages}) from None
