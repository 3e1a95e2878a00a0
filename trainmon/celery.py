"""The Celery application: the broker and the schedule stand in settings.py."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trainmon.settings")

app = Celery("trainmon")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
