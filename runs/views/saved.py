"""Saved views: kept, changed and deleted from the run list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import QueryDict
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods, require_POST

from runs import saved
from runs.query import RunQuery
from runs.views.listing import listing

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse


class ViewForm(forms.Form):
    """A view's name, question and whether others see it."""

    name = forms.CharField(max_length=saved.NAME_LENGTH, required=False)
    query = forms.CharField(max_length=saved.QUERY_LENGTH, required=False, strip=False)
    shared = forms.BooleanField(required=False)


@require_http_methods(["GET", "HEAD", "POST"])
def views(request: HttpRequest) -> HttpResponse:
    """Save the list's question as a new view.  The list of views is the row of tabs above the run list."""
    if request.method != "POST":
        return redirect("runs")
    form = ViewForm(request.POST)
    query = _query(request, form)
    if form.is_valid():
        try:
            view = saved.save(request, form.cleaned_data["name"], query, form.cleaned_data["shared"])
        except ValidationError as error:
            form.add_error(None, error)
        else:
            messages.success(request, f"Saved as “{view.name}”.")
            return redirect(view)
    return listing(request, query, saving=form, status=400)


@require_POST
def change_view(request: HttpRequest, pk: int) -> HttpResponse:
    """Rename, share or re-save one's view: what the form does not send stays as it is."""
    view = saved.find(request.user, pk)
    form = ViewForm(request.POST)
    query = _query(request, form)
    if form.is_valid():
        try:
            saved.change(
                request, view,
                name=form.cleaned_data["name"] if "name" in request.POST else None,
                query=query if "query" in request.POST else None,
                shared=form.cleaned_data["shared"] if "sharing" in request.POST else None,
            )
        except ValidationError as error:
            form.add_error(None, error)
        else:
            messages.success(request, f"Saved “{view.name}”.")
            return redirect(view)
    view.refresh_from_db()
    return listing(request, query if "query" in request.POST else RunQuery(QueryDict(view.query), request.user), view,
                   saving=form, status=400)


@require_POST
def delete_view(request: HttpRequest, pk: int) -> HttpResponse:
    """Delete one's view."""
    view = saved.find(request.user, pk)
    saved.delete(request, view)
    messages.success(request, f"Deleted the view “{view.name}”. Its runs are still here.")
    return redirect("runs")


def _query(request: HttpRequest, form: ViewForm) -> RunQuery:
    """The question that was sent; nothing where it is too long to be one."""
    return RunQuery(QueryDict(form.cleaned_data.get("query", "") if form.is_valid() else ""), request.user)
