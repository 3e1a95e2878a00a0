"""The retention app: what may go, and how it goes safely."""

from django.apps import AppConfig


class RetentionConfig(AppConfig):
    """Configuration of the retention app."""

    name = "retention"
    default_auto_field = "django.db.models.BigAutoField"
