"""The wiring app: commands and templates that belong to no single room."""

from django.apps import AppConfig


class TrainmonConfig(AppConfig):
    """Configuration of the wiring app."""

    name = "trainmon"

    def ready(self) -> None:
        """Checks, secrets of our own, what nobody caught, children that begin without connections, and how times are read."""
        from django.conf import settings

        from runs import redact
        from trainmon import checks, logs  # noqa: F401
        from trainmon.forks import forget_connections_in_children
        from trainmon.moments import read_quickly

        forget_connections_in_children()
        read_quickly()
        redact.learn(settings.SECRETS)
        if settings.TRAINMON_SERVICE != logs.COMMAND:
            logs.catch_all()
