"""The registry's pages."""

from django.urls import path

from runs.views.listing import run_list
from runs.views.page import run_page

urlpatterns = [
    path("", run_list, name="runs"),
    path("<int:pk>/", run_page, name="run"),
]
