"""Every route of the API, under /api/."""

from django.urls import path, re_path

from retention import api as cleanup
from retention import hold_api, storage_api, trash_api
from runs.api import (
    annotations,
    artifacts,
    audit,
    bundle,
    compare,
    description,
    details,
    exports,
    ingest,
    job_logs,
    jobs,
    listing,
    records,
    root,
    series,
    sources,
    trainers,
)
from streaming import sse
from streaming.tensorboard.api import OneTensorBoard

app_name = "api"

RUN = "runs/<int:pk>/"
JOB = "jobs/<str:job>/"

urlpatterns = [
    path("", root.Root.as_view(), name="root"),
    path("me/", root.Me.as_view(), name="me"),
    path("trainers/", trainers.Trainers.as_view(), name="trainers"),
    path("trainers/<slug:slug>/", trainers.OneTrainer.as_view(), name="trainer"),
    path("trainers/<slug:slug>/tensorboard/", OneTensorBoard.as_view(), name="tensorboard"),
    path("sources/", sources.Sources.as_view(), name="sources"),
    path("sources/<int:pk>/", sources.OneSource.as_view(), name="source"),
    path("sources/<int:pk>/sync/", sources.SyncSource.as_view(), name="source-sync"),
    path("runs/", listing.Runs.as_view(), name="runs"),
    path("runs/export/", exports.RunExport.as_view(), name="run-export"),
    path("runs/totals/", listing.RunTotals.as_view(), name="runs-totals"),
    path(RUN, details.OneRun.as_view(), name="run"),
    path(f"{RUN}status/", details.RunStatus.as_view(), name="run-status"),
    path(f"{RUN}stream/", sse.RunStream.as_view(), name="run-stream"),
    path(f"{RUN}stream", sse.RunStream.as_view(schema=None)),  # as that of a job may be called
    path(f"{RUN}parameters/", details.RunParameters.as_view(), name="run-parameters"),
    path(f"{RUN}export/", exports.SeriesExport.as_view(), name="series-export"),
    path(f"{RUN}metrics/", records.RunMetrics.as_view(), name="run-metrics"),
    path(f"{RUN}events/", records.RunEvents.as_view(), name="run-events"),
    path(f"{RUN}transitions/", records.RunTransitions.as_view(), name="run-transitions"),
    path(f"{RUN}segments/", records.RunSegments.as_view(), name="run-segments"),
    path(f"{RUN}files/", records.RunFiles.as_view(), name="run-files"),
    path(f"{RUN}texts/", records.RunTexts.as_view(), name="run-texts"),
    path(f"{RUN}notes/", annotations.Notes.as_view(), name="run-notes"),
    path(f"{RUN}notes/<int:note>/", annotations.OneNote.as_view(), name="run-note"),
    path(f"{RUN}tags/", annotations.Tags.as_view(), name="run-tags"),
    path(f"{RUN}bookmark/", annotations.OneBookmark.as_view(), name="run-bookmark"),
    path(f"{RUN}hold/", hold_api.OneHold.as_view(), name="run-hold"),
    path("jobs/", jobs.Jobs.as_view(), name="jobs"),
    path(JOB, jobs.OneJob.as_view(), name="job"),
    path(f"{JOB}summary/", jobs.Summary.as_view(), name="job-summary"),
    path(f"{JOB}logs/", job_logs.JobLog.as_view(), name="job-log"),
    path(f"{JOB}logs/view/", job_logs.JobLogView.as_view(), name="job-log-view"),
    path(f"{JOB}artifacts/", artifacts.JobArtifacts.as_view(), name="job-artifacts"),
    path(f"{JOB}artifacts/samples/<path:file>/", artifacts.JobSample.as_view(), name="job-sample"),
    path(f"{JOB}checkpoints/", artifacts.JobCheckpoints.as_view(), name="job-checkpoints"),
    path(f"{JOB}checkpoints/<path:file>/download/", artifacts.JobCheckpoint.as_view(), name="job-checkpoint"),
    path(f"{JOB}debug-bundle/", bundle.JobBundle.as_view(), name="job-bundle"),
    path(f"{JOB}debug-bundle", bundle.JobBundle.as_view(schema=None)),  # as others' scripts call it
    path(f"{JOB}cancel/", jobs.Cancel.as_view(), name="job-cancel"),
    path(f"{JOB}stream/", sse.JobStream.as_view(), name="job-stream"),
    path(f"{JOB}stream", sse.JobStream.as_view(schema=None)),  # as others' scripts call it
    # as others' scripts call them
    path(f"{JOB}summary", jobs.Summary.as_view(schema=None)),
    path(f"{JOB}logs", job_logs.JobLog.as_view(schema=None)),
    path(f"{JOB}logs/view", job_logs.JobLogView.as_view(schema=None)),
    path(f"{JOB}artifacts", artifacts.JobArtifacts.as_view(schema=None)),
    path(f"{JOB}artifacts/samples/<path:file>", artifacts.JobSample.as_view(schema=None)),
    path(f"{JOB}checkpoints", artifacts.JobCheckpoints.as_view(schema=None)),
    path(f"{JOB}checkpoints/<path:file>/download", artifacts.JobCheckpoint.as_view(schema=None)),
    path("series/", series.SeriesView.as_view(), name="series"),
    path("compare/lines/", compare.CompareLines.as_view(), name="compare-lines"),
    path("tags/", records.TagNames.as_view(), name="tags"),
    path("audit/", audit.AuditTrail.as_view(), name="audit"),
    path("cleanups/", cleanup.Cleanups.as_view(), name="cleanups"),
    path("cleanups/confirm/", cleanup.ConfirmCleanup.as_view(), name="cleanup-confirm"),
    path("cleanups/<int:pk>/", cleanup.OneCleanup.as_view(), name="cleanup"),
    path("storage/", storage_api.Storage.as_view(), name="storage"),
    path("trash/", trash_api.Trash.as_view(), name="trash"),
    path("trash/<int:pk>/restore/", trash_api.RestoreFromTrash.as_view(), name="trash-restore"),
    path("ingest/events/", ingest.IngestEvents.as_view(), name="ingest-events"),
    path("ingest/files/", ingest.IngestFiles.as_view(), name="ingest-files"),
    path("ingest/schema/", ingest.IngestSchema.as_view(), name="ingest-schema"),
    path("schema/", description.Description.as_view(), name="schema"),
    path("docs/", description.docs, name="docs"),
    # last: what is not there is told by a problem document, too
    re_path(r"^.*$", root.Nowhere.as_view(), name="nowhere"),
]
