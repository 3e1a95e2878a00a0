"""How many runs TensorBoard should show: its runs are the folders that hold event files."""

from __future__ import annotations

from django.db.models import Count, F, Func, TextField, Value

from runs.models import LogFile, Run


def runs_on_disk(trainer: int) -> int:
    """Folders with event files in the enabled sources of a trainer, as the registry knows them."""
    files = LogFile.objects.filter(
        source__trainer=trainer, source__enabled=True, kind=LogFile.Kind.EVENTS, missing=False, records__gt=0,
        run__lifecycle_stage=Run.Stage.ACTIVE, run__files_missing=False)
    escaped = Func(F("path"), Value("escape"), function="encode", output_field=TextField())
    folder = Func(escaped, Value("/?[^/]*$"), Value(""), function="regexp_replace", output_field=TextField())
    folders = files.order_by().annotate(folder=folder).values("source", "folder").distinct()
    return folders.aggregate(count=Count("*"))["count"]
