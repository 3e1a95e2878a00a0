"""Query strings, checked: what a page of a run may be asked for (lists: runs/query/)."""

from __future__ import annotations

from django import forms


class FigurePage(forms.Form):
    """Which figures of a run: a group of tags, and a page of them."""

    group = forms.CharField(max_length=1000, required=False, strip=False)
    page = forms.IntegerField(min_value=1, max_value=10_000_000, required=False)
