"""The pages of jobs."""

from django.urls import path

from runs.views import job_artifacts, job_logs, jobs

urlpatterns = [
    path("", jobs.job_list, name="jobs"),
    path("<int:pk>/", jobs.job_overview, name="job"),
    path("<int:pk>/logs/", job_logs.job_log, name="job-logs"),
    path("<int:pk>/samples/", job_artifacts.job_samples, name="job-samples"),
    path("<int:pk>/checkpoints/", job_artifacts.job_checkpoints, name="job-checkpoints"),
    path("<int:pk>/cancel/", jobs.job_cancel, name="job-cancel"),
]
