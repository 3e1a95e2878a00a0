"""Who did what: a trail that only grows."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class AuditEntry(models.Model):
    """One deed: who, what, on what, when, why, from where.

    Triggers of the database refuse UPDATE, DELETE and TRUNCATE, whoever asks.  ``user`` has no constraint,
    so that deleting a user changes nothing here; ``who`` is the name at the time.
    """

    at = models.DateTimeField(auto_now_add=True, db_index=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+"
    )
    who = models.CharField(max_length=150)
    action = models.CharField(max_length=60)
    kind = models.CharField(max_length=60, blank=True, help_text="What kind of thing it was done to.")
    object_id = models.BigIntegerField(null=True)
    subject = models.TextField(blank=True, help_text="The thing's name at the time.")
    why = models.TextField(blank=True)
    address = models.GenericIPAddressField(null=True, help_text="Where the request came from.")
    details = models.JSONField(default=dict)

    class Meta:
        ordering = ["-id"]
        verbose_name = "audit entry"
        verbose_name_plural = "audit entries"
        indexes = [
            models.Index(fields=["kind", "object_id"], name="audit_by_subject"),
            models.Index(fields=["who", "id"], name="audit_by_who"),
            models.Index(fields=["action", "id"], name="audit_by_action"),
        ]

    def __str__(self) -> str:
        return f"{self.who}: {self.action} {self.subject}"
