"""The streaming app: what leaves the registry while it is live."""

from django.apps import AppConfig


class StreamingConfig(AppConfig):
    """Configuration of the streaming app."""

    name = "streaming"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Pass on what is committed, and look again at who may see it when that may have changed."""
        from runs.signals import changed
        from streaming import publish
        from streaming.watch import watch

        changed.connect(publish.on_change, dispatch_uid="publish")
        watch()
