"""What a run measured: series of points in packed chunks, texts, references to images."""

from __future__ import annotations

from django.db import models


class Tag(models.Model):
    """The name of a metric, shared by all runs."""

    name = models.TextField(unique=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Series(models.Model):
    """One metric of one run, with what lists sort by.

    Counts and extremes are over the shown generations of all files; ``minimum`` and
    ``maximum`` over finite values (NULL where there is none); ``last`` is the value with
    the latest wall time.  The points themselves are in SeriesChunk and SeriesTail.
    """

    # no index of their own: those below begin with them
    run = models.ForeignKey("runs.Run", on_delete=models.CASCADE, related_name="series", db_index=False)
    tag = models.ForeignKey(Tag, on_delete=models.PROTECT, related_name="series", db_index=False)
    count = models.BigIntegerField(default=0)
    first_step = models.BigIntegerField(null=True)
    last_step = models.BigIntegerField(null=True)
    last = models.FloatField(null=True)
    last_wall = models.FloatField(null=True)
    minimum = models.FloatField(null=True)
    maximum = models.FloatField(null=True)
    nonfinite = models.BigIntegerField(default=0)

    class Meta:
        ordering = ["run", "tag__name"]
        verbose_name_plural = "series"
        constraints = [models.UniqueConstraint(fields=["run", "tag"], name="series_once_per_run")]
        # filtered and walked in order by, ties included; read forwards and backwards
        indexes = [
            models.Index(fields=["tag", "last", "run"], name="series_by_last"),
            models.Index(fields=["tag", "minimum", "run"], name="series_by_minimum"),
            models.Index(fields=["tag", "maximum", "run"], name="series_by_maximum"),
        ]

    def __str__(self) -> str:
        return self.tag.name


class PackedPoints(models.Model):
    """Points ``start .. start + count - 1`` of one series in one part of one file.

    ``data`` is packed by runs/chunks.py (exact: steps, wall times, values with their type);
    the other columns sum it up.
    """

    # no constraint: without an index of its own, each deleted file would scan the whole table
    log_file = models.ForeignKey(
        "runs.LogFile", on_delete=models.DO_NOTHING, related_name="+", db_index=False, db_constraint=False
    )
    generation = models.IntegerField()
    part = models.IntegerField()
    start = models.BigIntegerField()
    count = models.IntegerField()
    last_step = models.BigIntegerField()
    last = models.FloatField()
    last_wall = models.FloatField()
    first_step = models.BigIntegerField()
    minimum = models.FloatField(null=True)
    maximum = models.FloatField(null=True)
    nonfinite = models.IntegerField()
    data = models.BinaryField()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{self.count} points from {self.start} in part {self.part}"


class SeriesChunk(PackedPoints):
    """Up to 4,096 points, compressed: what outlives the files."""

    pk = models.CompositePrimaryKey("series_id", "log_file_id", "generation", "part", "start")
    series = models.ForeignKey(Series, on_delete=models.CASCADE, related_name="chunks", db_index=False)

    class Meta:
        ordering = ["series", "log_file", "generation", "part", "start"]


class SeriesTail(PackedPoints):
    """The newest points of a series in one file, at most 100, raw: takes each live update."""

    pk = models.CompositePrimaryKey("series_id", "log_file_id", "generation")
    series = models.ForeignKey(Series, on_delete=models.CASCADE, related_name="tails", db_index=False)

    class Meta:
        ordering = ["series", "log_file", "generation"]


class TextSummary(models.Model):
    """A text that the trainer logged (at most 64 KB), redacted at the door."""

    run = models.ForeignKey("runs.Run", on_delete=models.CASCADE, related_name="texts")
    log_file = models.ForeignKey("runs.LogFile", on_delete=models.CASCADE, related_name="+")
    generation = models.IntegerField()
    part = models.IntegerField()
    offset = models.BigIntegerField()
    tag = models.TextField()
    step = models.BigIntegerField()
    wall = models.FloatField()
    text = models.TextField()
    truncated = models.BooleanField(default=False)

    class Meta:
        ordering = ["run", "tag", "step", "id"]
        verbose_name_plural = "text summaries"

    def __str__(self) -> str:
        return f"{self.tag} at step {self.step}"


class Sample(models.Model):
    """An image or sound by reference, the payload stays on disk: in an event file, or a file that a log names.

    The latter has a ``path`` (relative to the source's root; empty where it lies outside) and the
    ``said`` one; its ``offset`` is that of the line, its ``length`` 0.
    """

    run = models.ForeignKey("runs.Run", on_delete=models.CASCADE, related_name="samples")
    log_file = models.ForeignKey("runs.LogFile", on_delete=models.CASCADE, related_name="+")
    generation = models.IntegerField()
    part = models.IntegerField()
    offset = models.BigIntegerField(help_text="Of the record in the file.")
    length = models.BigIntegerField(help_text="Of the record, framing included.")
    kind = models.CharField(max_length=20)
    tag = models.TextField()
    step = models.BigIntegerField()
    wall = models.FloatField()
    job = models.ForeignKey("runs.Job", null=True, on_delete=models.CASCADE, related_name="samples")
    path = models.BinaryField(default=b"")
    said = models.TextField(blank=True)
    index = models.IntegerField(null=True, help_text="Among the samples of its step.")
    size = models.BigIntegerField(null=True)

    #: Why a page cannot show it, put there by its view.
    gone: str = ""

    class Meta:
        ordering = ["run", "tag", "step", "id"]

    def __str__(self) -> str:
        return f"{self.tag} at step {self.step}"

    @property
    def is_file(self) -> bool:
        """Whether it is a file of its own, not a record of an event file."""
        return bool(self.said or self.path)
