"""What is done to the runs chosen in a list, all at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_http_methods

from runs import annotate
from runs.models import Run

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

#: Runs that are changed at once; the browser chooses no more (static/js/selection.js).
MOST = 500
#: What can be done, and how it is told afterwards.
DEEDS = {
    "tag": "tagged",
    "untag": "freed of these tags",
    "bookmark": "bookmarked",
    "share": "bookmarked for all",
    "unbookmark": "no longer bookmarked",
    "pin": "pinned",
    "unpin": "unpinned",
}


class Ids(forms.Field):
    """Ids of runs, each once; one that is no number names no run."""

    widget = forms.MultipleHiddenInput
    default_error_messages = {"required": "No run is chosen: tick the boxes in the run list."}

    def to_python(self, value: list[str] | None) -> list[int]:
        """The ids in the order of the list."""
        ids = dict.fromkeys(int(one) for one in value or [] if one.isascii() and one.isdigit() and len(one) < 19)
        if len(ids) > MOST:
            raise ValidationError(f"{len(ids):,} runs are chosen; at most {MOST} can be changed at once.")
        return list(ids)


class Chosen(forms.Form):
    """The runs that the boxes of a list name, and what to do with them."""

    run = Ids()
    do = forms.ChoiceField(choices=list(DEEDS.items()), required=False)
    tags = forms.CharField(max_length=5000, required=False, label="Tags", help_text="Several with commas between.")
    next = forms.CharField(max_length=9000, required=False, widget=forms.HiddenInput)

    def clean_tags(self) -> list[str]:
        """Each tag once."""
        return list(dict.fromkeys(filter(None, map(str.strip, self.cleaned_data["tags"].split(",")))))

    def clean(self) -> dict[str, Any]:
        """A tag is wanted where tags are put on or taken off."""
        if self.cleaned_data.get("do") in ("tag", "untag") and not self.cleaned_data.get("tags", True):
            self.add_error("tags", "Write a tag.")
        return self.cleaned_data


@require_http_methods(["GET", "HEAD", "POST"])
def selected(request: HttpRequest) -> HttpResponse:
    """The chosen runs with what can be done to them (for browsers without scripts), and the doing of it."""
    deed = request.method == "POST"
    form = Chosen(request.POST if deed else request.GET, auto_id="chosen-%s", label_suffix="")
    valid = form.is_valid()
    ids = form.cleaned_data.get("run", [])
    runs = list(Run.objects.visible_to(request.user).active().filter(pk__in=ids).order_by("-modified", "-id"))
    if deed and valid and _done(request, form, runs):
        return HttpResponseRedirect(_way_back(request, form.cleaned_data["next"]))
    context = {"form": form, "runs": runs, "missing": len(ids) - len(runs)}
    return render(request, "runs_selected.html", context, status=200 if valid and form.is_valid() else 400)


def _done(request: HttpRequest, form: Chosen, runs: list[Run]) -> bool:
    """Do it to each run by itself, and tell how many it was done to; what stands against it comes to the form."""
    do, tags = form.cleaned_data["do"], form.cleaned_data["tags"]
    if not do:
        form.add_error("do", "Choose what to do.")
        return False
    against: dict[str, int] = {}
    for run in runs:
        try:
            _do(request, run, do, tags)
        except ValidationError as error:
            against[error.messages[0]] = against.get(error.messages[0], 0) + 1
    done = len(runs) - sum(against.values())
    for why, count in against.items():
        messages.error(request, f"{count:,} run{'s' if count > 1 else ''} left as they were: {why}")
    if missing := len(form.cleaned_data["run"]) - len(runs):
        messages.warning(request, f"{missing:,} of the chosen runs are not there any more.")
    if done:
        messages.success(request, f"{done:,} run{'s' if done > 1 else ''} {DEEDS[do]}.")
    return True


def _do(request: HttpRequest, run: Run, do: str, tags: list[str]) -> None:
    if do == "tag":
        annotate.add_tags(request, run, tags)
    elif do == "untag":
        annotate.remove_tags(request, run, tags)
    elif do in ("pin", "unpin"):
        annotate.pin(request, run, do == "pin")
    else:
        annotate.bookmark(request, run, do != "unbookmark", shared=do == "share")


def _way_back(request: HttpRequest, where: str) -> str:
    safe = url_has_allowed_host_and_scheme(where, {request.get_host()}, require_https=request.is_secure())
    return where if safe else reverse("runs")
