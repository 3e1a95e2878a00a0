"""Every route of the API, under /api/."""

from django.urls import path, re_path

from runs.api.root import Me, Nowhere, Root
from runs.api.series import SeriesView

app_name = "api"

urlpatterns = [
    path("", Root.as_view(), name="root"),
    path("me/", Me.as_view(), name="me"),
    path("series/", SeriesView.as_view(), name="series"),
    # last: what is not there is told by a problem document, too
    re_path(r"^.*$", Nowhere.as_view(), name="nowhere"),
]
