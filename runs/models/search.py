"""What a run can be found by."""

from __future__ import annotations

from django.contrib.postgres.indexes import GinIndex, OpClass
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.db.models.functions import Upper


class RunText(models.Model):
    """The words of a run: its name, dataset, tags, notes, parameters, errors, host.

    Written by triggers of the database alone (migration 0008), whoever writes the run or
    the note.  A row of its own: a live run is updated each second, and would drag a full
    text index along each time.
    """

    run = models.OneToOneField("runs.Run", primary_key=True, on_delete=models.CASCADE, related_name="text")
    name = models.TextField()
    words = SearchVectorField()

    class Meta:
        indexes = [
            GinIndex(fields=["words"], name="run_by_word"),
            GinIndex(OpClass(Upper("name"), name="gin_trgm_ops"), name="run_by_part_of_name"),
        ]

    def __str__(self) -> str:
        return self.name
