"""Making and revoking API tokens: who may make which, and what is written down of it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.timezone import now
from django.views.decorators.debug import sensitive_variables

from runs import audit, redact
from runs.models import ApiToken, Trainer

if TYPE_CHECKING:
    from django.http import HttpRequest, QueryDict

#: Tokens that one user may have.
MOST_TOKENS = 50
#: How long a token may live, in days.
LIFETIMES = [("30", "30 days"), ("90", "90 days"), ("365", "one year"), ("never", "until it is revoked")]


def scopes_for(user: User) -> list[tuple[str, str]]:
    """The scopes that a user's tokens may have, with their words.

    Reading is everybody's; writing is for operators and admins; delivering events needs
    the right to change trainers.
    """
    allowed = {ApiToken.Scope.READ}
    if user.is_staff:
        allowed.add(ApiToken.Scope.WRITE)
    if user.has_perm("runs.change_trainer"):
        allowed.add(ApiToken.Scope.INGEST)
    return [(value, label) for value, label in ApiToken.Scope.choices if value in allowed]


class TokenForm(forms.Form):
    """What a new token is for, what it may do, and for how long."""

    name = forms.CharField(max_length=100, help_text="What it is for, e.g. the script or machine that has it.")
    scope = forms.ChoiceField(label="May", initial=ApiToken.Scope.READ)
    trainer = forms.ModelChoiceField(
        Trainer.objects.none(), required=False, empty_label="–", help_text="Whose events it delivers; only for that scope."
    )
    lifetime = forms.ChoiceField(choices=LIFETIMES, initial="90", label="Lives")

    def __init__(self, user: User, data: QueryDict | None = None) -> None:
        super().__init__(data, label_suffix="", auto_id="token-%s")
        self.user = user
        scopes = scopes_for(user)
        self.fields["scope"].choices = scopes  # type: ignore[attr-defined]
        if ApiToken.Scope.INGEST in dict(scopes):
            self.fields["trainer"].queryset = Trainer.objects.visible_to(user)  # type: ignore[attr-defined]
        else:
            del self.fields["trainer"]

    def clean_name(self) -> str:
        """A line of text, without secrets, that no other token of this user has."""
        name = redact.text(" ".join(self.cleaned_data["name"].split()))[:100]
        if ApiToken.objects.filter(user=self.user, name=name).exists():
            raise ValidationError(f"You have a token called {name}; revoke it first, or choose another name.")
        return str(name)

    def clean(self) -> dict[str, Any]:
        """A trainer goes with the scope ingest, and with no other."""
        asked = self.cleaned_data
        if asked.get("scope") == ApiToken.Scope.INGEST:
            if not asked.get("trainer") and "trainer" not in self.errors:
                self.add_error("trainer", "Choose the trainer whose events it delivers.")
        else:
            asked["trainer"] = None
        return asked


@sensitive_variables("secret")
def issue(request: HttpRequest, form: TokenForm) -> str | None:
    """Make the token that a valid form asks for and return it, the only time; None where the form now has an error."""
    asked = form.cleaned_data
    expires = None if asked["lifetime"] == "never" else now() + timedelta(days=int(asked["lifetime"]))
    with transaction.atomic():
        # two requests at once must not both be the fiftieth, nor take one name
        user = User.objects.select_for_update().get(pk=form.user.pk)
        if ApiToken.objects.filter(user=user).count() >= MOST_TOKENS:
            form.add_error(None, f"You have {MOST_TOKENS} tokens, which is the most: revoke one that nobody uses.")
        elif ApiToken.objects.filter(user=user, name=asked["name"]).exists():
            form.add_error("name", "You have a token of this name.")
        if form.errors:
            return None
        token, secret = ApiToken.issue(user, asked["name"], asked["scope"], trainer=asked["trainer"], expires=expires)
        audit.record(request, "create token", token, scope=token.scope, expires=expires and expires.isoformat(),
                     trainer=token.trainer and token.trainer.slug)
    return secret


def revoke(request: HttpRequest, token: ApiToken) -> None:
    """End a token at once, and write down who did."""
    with transaction.atomic():
        audit.record(request, "revoke token", token, owner=token.user.get_username(), scope=token.scope)
        token.delete()
