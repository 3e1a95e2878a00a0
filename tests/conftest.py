"""What every test shares: a real PostgreSQL, the embedded one unless DATABASE_URL gives another."""

from __future__ import annotations

import os

import pytest
from django.conf import settings

from trainmon.embedded.ensure import ensure

# Test databases are thrown away: no crash of the machine may cost more than a second run.
CARELESS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "200"}


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """Start the database when the first test needs it; it ends with the last process of the session."""
    if not os.environ.get("DATABASE_URL"):
        ensure(settings.HOME, CARELESS)
