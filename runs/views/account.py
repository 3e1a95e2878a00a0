"""The account page: who I am, what I may do, my password, my API tokens, what I keep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.forms import PasswordChangeForm
from django.contrib.auth.models import User
from django.db import transaction
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_POST

from runs import audit, tokens
from runs.models import ApiToken, Bookmark, Run, SavedView, Trainer
from runs.roles import IN_WORDS

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

#: Bookmarks and views that the page shows.
ROWS = 100


class PasswordForm(PasswordChangeForm):
    """Django's, one of several on its page: it takes no focus, and says its rules in a line."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"label_suffix": "", **kwargs})
        del self.fields["old_password"].widget.attrs["autofocus"]
        self.fields["new_password1"].help_text = (
            "At least 10 characters: no common password, not digits alone, nothing like your name."
        )
        self.fields["new_password2"].label = "New password, again"
        self.fields["new_password2"].help_text = ""


def account_page(request: HttpRequest) -> HttpResponse:
    """One's own account; there is no other's."""
    return _page(request)


@require_POST
@sensitive_variables("secret")
def create_token(request: HttpRequest) -> HttpResponse:
    """Make a token and show it, this once: in the answer itself, never in an address or the session."""
    form = tokens.TokenForm(_me(request), request.POST)
    secret = tokens.issue(request, form) if form.is_valid() else None
    if secret is None:
        return _page(request, token_form=form, status=400)
    return _page(request, secret=secret)


@require_POST
def revoke_token(request: HttpRequest, pk: int) -> HttpResponse:
    """End a token of one's own at once."""
    token = get_object_or_404(ApiToken.objects.select_related("user"), pk=pk, user=request.user)
    name = str(token)
    tokens.revoke(request, token)
    messages.success(request, f"Revoked {name}. What still uses it is refused from now on.")
    return redirect("account")


@require_POST
@sensitive_post_parameters()
def change_password(request: HttpRequest) -> HttpResponse:
    """Set another password: this session goes on, every other one ends."""
    form = PasswordForm(request.user, request.POST)
    if not form.is_valid():
        return _page(request, password_form=form, status=400)
    with transaction.atomic():
        form.save()
        audit.record(request, "change password", form.user)
    update_session_auth_hash(request, form.user)
    messages.success(request, "Password changed. You are signed out everywhere else; API tokens go on.")
    return redirect("account")


def _page(request: HttpRequest, *, status: int = 200, **more: Any) -> HttpResponse:
    user = _me(request)
    groups = list(user.groups.order_by("name"))
    bookmarks = Bookmark.objects.filter(owner=user, run__in=Run.objects.visible_to(user).active().order_by())
    context = {
        "groups": [group for group in groups if group.name not in IN_WORDS],
        "roles": [(group.name, IN_WORDS[group.name]) for group in groups if group.name in IN_WORDS],
        "trainers": Trainer.objects.visible_to(user),
        "tokens": ApiToken.objects.filter(user=user).select_related("trainer"),
        "token_form": tokens.TokenForm(user),
        "most_tokens": tokens.MOST_TOKENS,
        "password_form": PasswordForm(user),
        "bookmarks": bookmarks.select_related("run__source__trainer")[:ROWS],
        "views": SavedView.objects.filter(owner=user)[:ROWS],
        **more,
    }
    return render(request, "account.html", context, status=status)


def _me(request: HttpRequest) -> User:
    """The one who is signed in: the middleware lets nobody else in."""
    assert isinstance(request.user, User)
    return request.user
