"""The runs app: the registry: what trained, what it said, how it stands."""

from django.apps import AppConfig


class RunsConfig(AppConfig):
    """Configuration of the runs app."""

    name = "runs"
    default_auto_field = "django.db.models.BigAutoField"
