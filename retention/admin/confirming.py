"""The page between an action and its deed: what goes, what stays and why, how it is done, and the typed word that it is."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.core.exceptions import BadRequest

from retention import changes
from retention.admin.deeds import Deed, Preview
from retention.rights import may_force
from runs import redact

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User

#: Runs that one action is about at most: a page of them can still be read.
AT_ONCE = 1000


class Confirmation(forms.Form):
    """How a deed is to be done; on its way back also what was looked at, and the number that was typed."""

    archive = forms.BooleanField(
        label="Archive first", required=False, initial=True,
        help_text="Each run is packed, read again and compared before it is moved.")
    grace = forms.FloatField(
        label="Days in the trash", min_value=0, max_value=3650,
        help_text="After these it is purged; until then it can be restored.")
    forced = forms.BooleanField(
        label="Pinned and bookmarked ones, too", required=False, help_text="Admins only. A hold stays a hold.")
    why = forms.CharField(
        label="Why", required=False, max_length=2000, widget=forms.TextInput(attrs={"size": 60}),
        help_text="Kept in the audit trail.")
    token = forms.CharField(required=False, max_length=64, widget=forms.HiddenInput)
    seen = forms.CharField(required=False, widget=forms.HiddenInput)
    typed = forms.CharField(required=False, max_length=20, widget=forms.HiddenInput)
    #: What is not as it was looked at, run by run.
    changed: list[str]

    def __init__(self, deed: Deed, user: User | AnonymousUser, data: Any = None) -> None:
        initial = {"grace": f"{settings.TRAINMON_CLEANUP_GRACE:g}", "archive": True}
        super().__init__(data, initial=initial, label_suffix="")
        self.changed = []
        wanted = {*deed.options, "token", "seen", "typed"} - (set() if may_force(user) else {"forced"})
        for name in set(self.fields) - wanted:
            del self.fields[name]

    def clean_why(self) -> str:
        """Without secrets: it is kept for ever."""
        return redact.text(self.cleaned_data["why"])

    def said(self) -> dict[str, Any]:
        """How it is to be done: as it was said, else as it is done by default."""
        if self.is_bound:
            return self.cleaned_data
        return {name: one.to_python(self.get_initial_for_field(one, name)) for name, one in self.fields.items()}

    def objection(self, made: Preview) -> HTTPStatus | None:
        """Why nothing is done, with the words in the form's errors; None where all is as it was looked at."""
        said, count = self.cleaned_data, len(made.going)
        if not said["token"]:
            return self._refuse(HTTPStatus.BAD_REQUEST, "this is what would be done. Look at it, then confirm it below.")
        if said["token"] != made.token:
            self.changed = changes.since(said["seen"], made.shown())
            how = "." if self.changed else ", or how it is done was changed."
            return self._refuse(HTTPStatus.CONFLICT, f"this is no longer what you looked at{how} Below is what would be done.")
        if not count:
            return self._refuse(HTTPStatus.BAD_REQUEST, "there is no run left for it.")
        if said["typed"].strip() != str(count):
            return self._refuse(HTTPStatus.BAD_REQUEST, f"type {count} to confirm.")
        return None

    def _refuse(self, status: HTTPStatus, words: str) -> HTTPStatus:
        self.add_error(None, f"Nothing was done: {words}")
        return status


def chosen(said: str) -> Sequence[int]:
    """The ids that a preview was about, from its form."""
    numbers = said.split(",")
    if len(numbers) > AT_ONCE or not all(one.isascii() and one.isdigit() and len(one) < 19 for one in numbers):
        raise BadRequest("A run is named by its number.")
    return [int(one) for one in numbers]
