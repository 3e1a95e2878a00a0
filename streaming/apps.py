"""The streaming app: what leaves the registry while it is live."""

from django.apps import AppConfig


class StreamingConfig(AppConfig):
    """Configuration of the streaming app."""

    name = "streaming"
    default_auto_field = "django.db.models.BigAutoField"
