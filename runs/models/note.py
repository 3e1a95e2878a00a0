"""What people add to the registry: notes, bookmarks, saved views."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.urls import reverse

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser, User


class Note(models.Model):
    """A remark on a run, plain text, redacted at the door like everything else that comes in."""

    run = models.ForeignKey("runs.Run", on_delete=models.CASCADE, related_name="notes")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="notes")
    text = models.TextField(max_length=20_000)
    created = models.DateTimeField(auto_now_add=True)
    edited = models.DateTimeField(null=True)

    #: Whether who looks may change it, put there by its view.
    mine: bool = False

    class Meta:
        ordering = ["run", "-created", "-id"]

    def __str__(self) -> str:
        return self.text[:60]

    def get_absolute_url(self) -> str:
        """Its place on the run's page."""
        return f"{self.run.get_absolute_url()}notes/#note-{self.pk}"


class PersonalQuerySet(models.QuerySet):
    """Rows of one user that may be shared with everybody who may see what they lead to."""

    def visible_to(self, user: User | AnonymousUser) -> PersonalQuerySet:
        """One's own, and what others share."""
        return self.filter(Q(owner=user.pk) | Q(shared=True)) if user.is_authenticated else self.none()


class Bookmark(models.Model):
    """A run that somebody wants to find again; shared ones are the team's."""

    run = models.ForeignKey("runs.Run", on_delete=models.CASCADE, related_name="bookmarks")
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="bookmarks")
    shared = models.BooleanField(default=False)
    created = models.DateTimeField(auto_now_add=True)

    objects = PersonalQuerySet.as_manager()

    class Meta:
        ordering = ["-created", "-id"]
        constraints = [models.UniqueConstraint(fields=["run", "owner"], name="bookmark_once_per_user")]

    def __str__(self) -> str:
        return f"{self.owner}: {self.run}"


class SavedView(models.Model):
    """A filter, an order and columns under a name: a query string of the run list.

    It holds no data: whoever opens it sees the runs that they may see.
    """

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="saved_views")
    name = models.CharField(max_length=100)
    query = models.TextField(blank=True, max_length=8000)
    shared = models.BooleanField(default=False)
    created = models.DateTimeField(auto_now_add=True)
    changed = models.DateTimeField(auto_now=True)

    objects = PersonalQuerySet.as_manager()

    class Meta:
        ordering = ["name", "id"]
        constraints = [models.UniqueConstraint(fields=["owner", "name"], name="view_once_per_user")]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        """The run list as this view shows it; the address stays when the view is changed."""
        return reverse("view", args=[self.pk])
