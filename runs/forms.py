"""Query strings, checked: what a page of a run may be asked for (lists: runs/query/)."""

from __future__ import annotations

from django import forms


class PageNumber(forms.Form):
    """Which page of a list."""

    page = forms.IntegerField(min_value=1, max_value=10_000_000, required=False)


class RunAsked(forms.Form):
    """Which run is meant, where one is."""

    run = forms.IntegerField(min_value=1, max_value=2**63 - 1, required=False)


class FigurePage(PageNumber):
    """Which charts of a run: a group of tags, and a page of them; ``plain`` are drawn by the server."""

    group = forms.CharField(max_length=1000, required=False, strip=False)
    plain = forms.BooleanField(required=False)


class SampleQuestion(PageNumber):
    """Which texts, images and sounds of a run: of one tag, up to a step."""

    tag = forms.CharField(max_length=1100, required=False, strip=False)
    step = forms.IntegerField(min_value=-(2**63), max_value=2**63 - 1, required=False)


class LogQuestion(forms.Form):
    """Which lines of a log: those that fit, from a place on, or around a line."""

    level = forms.CharField(max_length=10, required=False)
    event = forms.CharField(max_length=100, required=False)
    search = forms.CharField(max_length=200, required=False, strip=False)
    stream = forms.IntegerField(min_value=1, max_value=2**62, required=False)
    line = forms.IntegerField(min_value=1, max_value=10**12, required=False)
    offset = forms.IntegerField(min_value=0, max_value=10**12, required=False)
