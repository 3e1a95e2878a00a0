"""The wiring app: commands and templates that belong to no single room."""

from django.apps import AppConfig


class TrainmonConfig(AppConfig):
    """Configuration of the wiring app."""

    name = "trainmon"
