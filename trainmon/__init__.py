"""trainmon watches training runs from the logs they already write."""

from trainmon.celery import app as celery_app

__version__ = "0.1.0"
__all__ = ["celery_app"]
