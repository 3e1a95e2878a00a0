"""The costs app: what runs cost."""

from django.apps import AppConfig


class CostsConfig(AppConfig):
    """Configuration of the costs app."""

    name = "costs"
    default_auto_field = "django.db.models.BigAutoField"
