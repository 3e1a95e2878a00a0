"""What every question is: a query string, who asks it, the sources that they see, and where in a list they are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict

from runs.models import Source
from runs.query import paging
from runs.query.grammar import Unclear

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User


class Question(forms.Form):
    """The base of the forms behind the lists; they have the fields ``after`` and ``before``."""

    def __init__(self, data: QueryDict, user: User | AnonymousUser) -> None:
        super().__init__(data, auto_id=False)
        self.query, self.user = data, user

    @cached_property
    def sources(self) -> dict[int, Source]:
        """All sources that the user may see, with their trainers: rows are filtered by them, and pages tell of them."""
        seen = Source.objects.visible_to(self.user).order_by("trainer__name", "root").select_related("trainer")
        return {source.pk: source for source in seen.defer("verdicts", "fingerprint", "problems")}

    def read_place(self, order: str, kinds: Sequence[str]) -> None:
        """Read the cursors: each belongs to an order."""
        asked: dict[str, Any] = self.cleaned_data
        if asked.get("after") and asked.get("before"):
            raise ValidationError("A page lies after a place or before one. Leave out after or before.")
        for side in ("after", "before"):
            if asked.get(side):
                try:
                    asked[side] = paging.read(asked[side], order, kinds)
                except Unclear as error:
                    self.add_error(side, str(error))
