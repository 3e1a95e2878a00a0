"""The registry's pages."""

from django.urls import path

from runs.views import annotations, notes
from runs.views.charts import run_charts
from runs.views.files import run_files, run_raw
from runs.views.history import run_history
from runs.views.job_logs import run_log
from runs.views.listing import known, order, run_form, run_list, run_totals, saved_view
from runs.views.parameters import run_parameters
from runs.views.samples import run_sample, run_samples
from runs.views.saved import change_view, delete_view, views
from runs.views.selected import selected

urlpatterns = [
    path("", run_list, name="runs"),
    path("form/", run_form, name="run-form"),
    path("totals/", run_totals, name="totals"),
    path("known/", known, name="known"),
    path("order/", order, name="order"),
    path("selected/", selected, name="selected"),
    path("views/", views, name="views"),
    path("views/<int:pk>/", saved_view, name="view"),
    path("views/<int:pk>/form/", run_form, name="view-form"),
    path("views/<int:pk>/change/", change_view, name="change-view"),
    path("views/<int:pk>/delete/", delete_view, name="delete-view"),
    path("<int:pk>/", run_charts, name="run"),
    path("<int:pk>/logs/", run_log, name="run-logs"),
    path("<int:pk>/samples/", run_samples, name="run-samples"),
    path("<int:pk>/samples/<int:sample>/", run_sample, name="run-sample"),
    path("<int:pk>/parameters/", run_parameters, name="run-parameters"),
    path("<int:pk>/files/", run_files, name="run-files"),
    path("<int:pk>/files/<int:file>/raw/", run_raw, name="run-raw"),
    path("<int:pk>/notes/", notes.run_notes, name="run-notes"),
    path("<int:pk>/notes/<int:note>/edit/", notes.run_note_edit, name="run-note-edit"),
    path("<int:pk>/notes/<int:note>/delete/", notes.run_note_delete, name="run-note-delete"),
    path("<int:pk>/history/", run_history, name="run-history"),
    path("<int:pk>/rename/", annotations.run_rename, name="run-rename"),
    path("<int:pk>/tags/", annotations.run_tags, name="run-tags"),
    path("<int:pk>/pin/", annotations.run_pin, name="run-pin"),
    path("<int:pk>/bookmark/", annotations.run_bookmark, name="run-bookmark"),
]
