"""Imported once by the fork server of a worker: its children start with Django loaded."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trainmon.settings")

import django

django.setup()

import runs.sync  # noqa: E402, F401
