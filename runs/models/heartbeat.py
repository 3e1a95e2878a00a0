"""That a service does what it is asked to: when it last did."""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.utils.timezone import now

#: The clock asks the worker for one this often; after LATE something between the two does not work.
EVERY = timedelta(seconds=30)
LATE = timedelta(seconds=90)


class Heartbeat(models.Model):
    """One row a service.  The follower needs none: it says on each source up to when it knows it."""

    service = models.CharField(max_length=20, primary_key=True)
    at = models.DateTimeField()
    trouble = models.TextField(blank=True, help_text="What it could not do now, for people.")

    class Meta:
        ordering = ["service"]

    def __str__(self) -> str:
        return f"{self.service} at {self.at:%Y-%m-%d %H:%M:%S} UTC"

    @classmethod
    def beat(cls, service: str, trouble: str = "") -> None:
        """It lives."""
        cls.objects.update_or_create(service=service, defaults={"at": now(), "trouble": trouble})
