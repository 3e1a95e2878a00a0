"""Keys for scripts."""

from __future__ import annotations

import hashlib
import secrets
from datetime import datetime
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.timezone import now

from runs.roles import is_admin

if TYPE_CHECKING:
    from django.contrib.auth.models import User

    from runs.models.trainer import Trainer

#: So that a token in a log or a repository is recognized, by people and by secret scanners.
PREFIX = "tmon_"


class ApiToken(models.Model):
    """A token of a user for scripts: at most what the user may do, less by its scope.

    ``read`` looks, ``write`` does what its user may do, ``ingest`` only delivers events of
    one trainer.  The token itself is shown once and kept nowhere: ``digest`` is its SHA-256
    (it is 256 random bits, so there is nothing to guess and nothing to salt).
    """

    class Scope(models.TextChoices):
        READ = "read", "read"
        WRITE = "write", "read and write"
        INGEST = "ingest", "deliver events of one trainer"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100, help_text="What it is for.")
    scope = models.CharField(max_length=10, choices=Scope, default=Scope.READ)
    trainer = models.ForeignKey(
        "runs.Trainer", null=True, blank=True, on_delete=models.CASCADE, related_name="api_tokens",
        help_text="Whose events it may deliver; only for ingest.",
    )
    digest = models.CharField(max_length=64, unique=True, editable=False)
    hint = models.CharField(max_length=16, editable=False, help_text="Its first characters, to tell tokens apart.")
    created = models.DateTimeField(auto_now_add=True)
    expires = models.DateTimeField(null=True, blank=True)
    last_used = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        ordering = ["-created", "-id"]
        verbose_name = "API token"
        constraints = [
            models.UniqueConstraint(fields=["user", "name"], name="token_once_per_user"),
            models.CheckConstraint(
                condition=Q(scope="ingest", trainer__isnull=False) | (~Q(scope="ingest") & Q(trainer__isnull=True)),
                name="token_of_a_trainer_ingests",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.hint}…)"

    @property
    def expired(self) -> bool:
        """Whether its time is over."""
        return self.expires is not None and self.expires <= now()

    @classmethod
    def issue(
        cls, user: User, name: str, scope: str = Scope.READ, *,
        trainer: Trainer | None = None, expires: datetime | None = None,
    ) -> tuple[ApiToken, str]:
        """A new row, and the token that nobody can show again."""
        secret = PREFIX + secrets.token_urlsafe(32)
        row = cls.objects.create(
            user=user, name=name, scope=scope, trainer=trainer, expires=expires,
            digest=digest(secret), hint=secret[: len(PREFIX) + 6],
        )
        return row, secret

    @classmethod
    def find(cls, secret: str) -> ApiToken | None:
        """The row of a token that is valid now."""
        rows = cls.objects.select_related("user", "trainer").annotate(is_admin=is_admin("user"))
        row = rows.filter(digest=digest(secret)).first()
        if row is None or row.expired:
            return None
        row.user.is_admin = row.is_admin  # type: ignore[attr-defined]
        return row


def digest(secret: str) -> str:
    """What of a token is stored."""
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
