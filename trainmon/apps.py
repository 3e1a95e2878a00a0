"""The wiring app: commands and templates that belong to no single room."""

from django.apps import AppConfig


class TrainmonConfig(AppConfig):
    """Configuration of the wiring app."""

    name = "trainmon"

    def ready(self) -> None:
        """Register the system checks, and keep forked children off their parent's connections."""
        from trainmon import checks  # noqa: F401
        from trainmon.forks import forget_connections_in_children

        forget_connections_in_children()
