"""The page on which an admin says that a source's volume is gone for good: what is lost with it, then its typed root."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import permission_required
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods

from retention import losses, plan
from retention.files import Refused
from retention.forms import REASON
from retention.turn import Busy, Lost, turn
from runs import audit
from runs.models import Source
from runs.readers.plain import plain

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse, QueryDict

#: Runs that are named.
NAMED = 200


class Declared(forms.Form):
    """That it is really meant: the token of what was shown, and the root, typed."""

    token = forms.CharField(max_length=64)
    typed = forms.CharField(max_length=5000, error_messages={"required": "Type the root."})
    why = forms.CharField(max_length=REASON, required=False)

    def __init__(self, source: Source, data: QueryDict | None = None) -> None:
        super().__init__(data)
        self.root = source.root_text

    def clean_typed(self) -> str:
        """As it is shown."""
        if self.cleaned_data["typed"] != self.root:
            raise forms.ValidationError("This is not its root.")
        return self.root


@require_http_methods(["GET", "HEAD", "POST"])
@permission_required("retention.force_cleanup", raise_exception=True)
def source_lost(request: HttpRequest, pk: int) -> HttpResponse:
    """What waits for this volume; a POST with its token and its root declares it lost, and a GET does nothing."""
    source = get_object_or_404(Source.objects.visible_to(request.user).select_related("trainer"), pk=pk)
    form = Declared(source, request.POST if request.method == "POST" else None)
    if not form.is_valid():
        return _shown(request, source, form, 400 if form.is_bound else 200)
    said, user = form.cleaned_data, request.user
    assert user.is_authenticated
    author = plan.Author(user.get_username(), "web", plain(said["why"]), user=user, address=audit.address_of(request))
    try:
        with turn() as held:
            losses.declare(source, said["token"], held, author)
    except (plan.Changed, Refused, Busy, Lost) as error:
        form.add_error(None, f"{error}.")
        return _shown(request, source, form, 409)
    messages.success(request, "The volume is declared lost. What has an archive can be restored to a new one at the same root.")
    return redirect(source)


def _shown(request: HttpRequest, source: Source, form: Declared, status: int) -> HttpResponse:
    context: dict[str, object] = {"source": source, "form": form, "named": f":{NAMED}"}
    try:
        context["loss"] = losses.look(source)
    except Refused as error:
        context["refused"] = str(error)
    return render(request, "source_lost.html", context, status=status)
