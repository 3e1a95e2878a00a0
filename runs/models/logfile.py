"""A file of a run, and how far it has been read."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Func

from runs import masks


class LogFile(models.Model):
    """A log file of a run: where it lies, what it is, where reading goes on.

    Identity rests on content: ``head_hash`` covers the first min(256, offset) bytes and
    ``tail_hash`` the 64 bytes before ``offset``; device, inode, size and mtime only decide
    whether the file need be opened.  ``offset`` is always the first byte of a record.

    ``generation`` is the one that pages show.  Where the content was exchanged, the new one
    is read as ``reading`` beside it, and ``generation`` follows in one UPDATE when reading
    has reached the file's end.  Offset, hashes, state and counters belong to ``reading``.
    """

    class Kind(models.TextChoices):
        EVENTS = "events", "TensorBoard event file"
        JSONL = "jsonl", "JSON lines"
        TEXT = "text", "text log"

    source = models.ForeignKey("runs.Source", on_delete=models.CASCADE, related_name="log_files")
    run = models.ForeignKey("runs.Run", on_delete=models.CASCADE, related_name="log_files")
    path = models.BinaryField(help_text="Bytes, relative to the source's root.")
    prefix = models.TextField(blank=True, help_text="Of the tags of a part of the run (eval/).")
    kind = models.CharField(max_length=10, choices=Kind)
    device = models.BigIntegerField(default=0)
    inode = models.DecimalField(max_digits=20, decimal_places=0, default=0)
    size = models.BigIntegerField(default=0)
    mtime_ns = models.BigIntegerField(default=0)
    offset = models.BigIntegerField(default=0)
    head_hash = models.BinaryField(default=b"")
    tail_hash = models.BinaryField(default=b"")
    state = models.BinaryField(default=b"")
    generation = models.IntegerField(default=0)
    reading = models.IntegerField(default=0)
    replaced = models.DateTimeField(null=True, help_text="When the content that pages show took the place of another.")
    records = models.BigIntegerField(default=0)
    points = models.BigIntegerField(default=0)
    bad_records = models.BigIntegerField(default=0)
    lost_bytes = models.BigIntegerField(default=0)
    damages = models.JSONField(default=list, help_text="The first 100: offset, length, kind, detail.")
    pending = models.JSONField(
        null=True, help_text="Bytes at its end that are no record so far: offset, length, kind."
    )
    error = models.TextField(blank=True, help_text="Why it cannot be read further.")
    missing = models.BooleanField(default=False)
    first_wall = models.FloatField(null=True)
    last_wall = models.FloatField(null=True)

    class Meta:
        ordering = ["run", "first_wall", "id"]
        constraints = [
            # sha256, since a path may be longer than what a btree takes (2,704 bytes); once a run, not a
            # source: where a purged run lay a new one may begin
            models.UniqueConstraint(F("run"), Func(F("path"), function="sha256"), name="logfile_once_per_run"),
        ]

    def __str__(self) -> str:
        return self.path_text

    @property
    def path_text(self) -> str:
        """The path for people: without secrets, bytes that are not UTF-8 escaped."""
        return masks.shown(self.path)

    @property
    def prefix_text(self) -> str:
        """The prefix for people."""
        return masks.path(self.prefix)

    @property
    def unread(self) -> int:
        """Bytes after the last complete record."""
        return max(0, self.size - self.offset)
