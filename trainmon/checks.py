"""System checks: wrong configuration, each with a hint what to do (`manage.py check --database default`)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from decimal import Decimal
from importlib.util import find_spec
from ipaddress import ip_network
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import connections

from runs import volumes
from trainmon.embedded import binaries

# Every variable that trainmon reads; a test compares this list with the code and with docs/operations.md.
VARIABLES = {
    "DATABASE_URL",
    "HOST",
    "LOGS",
    "PORT",
    "REDIS_URL",
    "TRAINMON_ADMIN_PASSWORD",
    "TRAINMON_ADMIN_USER",
    "TRAINMON_API_RATE",
    "TRAINMON_ARCHIVE",
    "TRAINMON_BY_HAND",
    "TRAINMON_CLEANUP_GRACE",
    "TRAINMON_CLEANUP_PURGE",
    "TRAINMON_CLEANUP_QUIET",
    "TRAINMON_CORRELATION_ID",
    "TRAINMON_DB_POOL",
    "TRAINMON_DEBUG",
    "TRAINMON_ENV",
    "TRAINMON_FRESH_DAYS",
    "TRAINMON_HOME",
    "TRAINMON_HOSTS",
    "TRAINMON_HTTPS",
    "TRAINMON_INGEST_RATE",
    "TRAINMON_KEEP_EVENTS",
    "TRAINMON_LOG_LEVEL",
    "TRAINMON_LOG_PARTS",
    "TRAINMON_LOG_SESSIONS",
    "TRAINMON_LOG_SIZE",
    "TRAINMON_MAX_TAGS",
    "TRAINMON_METRICS_FROM",
    "TRAINMON_METRICS_TOKEN",
    "TRAINMON_OLD_DAYS",
    "TRAINMON_ORIGINS",
    "TRAINMON_PG_BIN",
    "TRAINMON_PRIVATE",
    "TRAINMON_PUSH_FREE",
    "TRAINMON_PUSH_QUOTA",
    "TRAINMON_SCAN_DEADLINE",
    "TRAINMON_SECRET_KEY",
    "TRAINMON_SERVICE",
    "TRAINMON_STORAGE_PRICE",
    "TRAINMON_SUPERVISED",
    "TRAINMON_SYNC_INTERVAL",
    "TRAINMON_SYSLOG",
    "TRAINMON_TB_PROGRAMS",
    "TRAINMON_TB_RATE",
    "TRAINMON_TB_SHARED_HOST",
    "TRAINMON_VIEWERS_RAW",
    "TRAINMON_VOLUMES",
}
POSITIVE = ("TRAINMON_LOG_SIZE", "TRAINMON_SYNC_INTERVAL", "TRAINMON_SCAN_DEADLINE", "TRAINMON_MAX_TAGS")
#: What may be 0, and no more than this (NaN is neither).
BOUNDED = {
    "TRAINMON_KEEP_EVENTS": 36_500, "TRAINMON_LOG_PARTS": 1_000, "TRAINMON_LOG_SESSIONS": 1_000,
    "TRAINMON_CLEANUP_QUIET": 525_600, "TRAINMON_CLEANUP_GRACE": 36_500, "TRAINMON_STORAGE_PRICE": 1_000_000,
    "TRAINMON_BY_HAND": 1_440,
}


@register()
def check_variables(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """A misspelt variable would be ignored in silence."""
    unknown = sorted(name for name in os.environ if name.startswith("TRAINMON_") and name not in VARIABLES)
    found: list[CheckMessage] = [
        Warning(
            f"{name} is set, and trainmon knows no such variable.",
            hint="docs/operations.md lists them all.",
            id="trainmon.W001",
        )
        for name in unknown
    ]
    found += [
        Error(f"{name} must be 1 or more.", hint=f"Unset {name} for its default.", id="trainmon.E002")
        for name in POSITIVE
        if getattr(settings, name) < 1
    ]
    found += [
        Error(f"{name} must be 0 to {most:,}.", hint=f"Unset {name} for its default.", id="trainmon.E014")
        for name, most in BOUNDED.items()
        if not Decimal(getattr(settings, name)).is_finite() or not 0 <= getattr(settings, name) <= most
    ]
    if len(settings.TRAINMON_API_RATE) != 3 or min(settings.TRAINMON_API_RATE) < 0:
        said, hint = "TRAINMON_API_RATE must be three numbers.", "TRAINMON_API_RATE=600,120,30: reads, writes, by nobody."
        found.append(Error(said, hint=hint, id="trainmon.E009"))
    for program in settings.TRAINMON_TB_PROGRAMS:
        if not os.path.isabs(program) or not os.access(program, os.X_OK):
            said = f"{program} of TRAINMON_TB_PROGRAMS is no absolute path of a program."
            found.append(Error(said, hint="TRAINMON_TB_PROGRAMS=/opt/tb-2.15/bin/tensorboard", id="trainmon.E010"))
    return found


@register()
def check_volumes(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """What volumes are asked can be asked."""
    try:
        known = volumes.read(settings.TRAINMON_VOLUMES)
    except ValueError as wrong:
        hint = 'TRAINMON_VOLUMES={"/volume": {"refresh": ["/opt/refresh"], "commit": ["/opt/commit", "-v"]}}'
        return [Error(f"TRAINMON_VOLUMES: {wrong}.", hint=hint, id="trainmon.E015")]
    if any(one.kind == "modal" for one in known) and find_spec("modal") is None:
        return [Error("TRAINMON_VOLUMES names a Modal volume, and Modal's client is not installed.",
                      hint="pip install 'modal~=1.6'", id="trainmon.E016")]
    return []


@register()
def check_metrics(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """Metrics are read by whom one means."""
    found: list[CheckMessage] = []
    for one in settings.TRAINMON_METRICS_FROM:
        try:
            ip_network(one, strict=False)
        except ValueError:
            hint = "TRAINMON_METRICS_FROM=10.0.0.5,192.168.7.0/24: addresses and networks, comma-separated."
            found.append(Error(f"TRAINMON_METRICS_FROM: {one!r} is no address and no network.", hint=hint, id="trainmon.E012"))
    if 0 < len(settings.TRAINMON_METRICS_TOKEN) < 16:
        hint = "Make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
        found.append(Error("TRAINMON_METRICS_TOKEN is shorter than 16 characters.", hint=hint, id="trainmon.E013"))
    return found


@register()
def check_home(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """The data directory can be written."""
    nearest = settings.HOME
    while not nearest.exists():
        nearest = nearest.parent
    if nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK):
        return []
    hint = "Set TRAINMON_HOME to a directory that this user can write."
    return [Error(f"TRAINMON_HOME={settings.HOME} cannot be written.", hint=hint, id="trainmon.E003")]


@register()
def check_servers(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """A database and a bus can be had."""
    found: list[CheckMessage] = []
    if not os.environ.get("DATABASE_URL"):
        try:
            binaries.postgres_bin()
        except binaries.NoBinary as error:
            found.append(Error(str(error), hint="DATABASE_URL=postgresql://user@host/name", id="trainmon.E004"))
    if not os.environ.get("REDIS_URL") and binaries.valkey_server() is None:
        hint = "Install Valkey, or give one by REDIS_URL=redis://host:6379/0; until then pages update more slowly."
        found.append(Warning("There is no Valkey for this platform.", hint=hint, id="trainmon.W005"))
    return found


@register(Tags.security, deploy=True)
def check_https(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """Cookies of a production site travel encrypted."""
    if not settings.PRODUCTION or settings.SESSION_COOKIE_SECURE:
        return []
    hint = "Serve it behind HTTPS and unset TRAINMON_HTTPS."
    said = "TRAINMON_HTTPS is off in production: sessions can be read on the way."
    return [Warning(said, hint=hint, id="trainmon.W006")]


@register(Tags.database)
def check_database(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """The server is one that trainmon's numbers and texts survive in."""
    found: list[CheckMessage] = []
    for alias in databases or []:
        connection: Any = connections[alias]
        if connection.vendor != "postgresql":
            continue
        with connection.cursor() as cursor:
            cursor.execute("select current_setting('server_encoding'), current_setting('fsync')")
            encoding, fsync = cursor.fetchone()
        if encoding != "UTF8":
            hint = "Create it with: createdb --encoding=UTF8 --template=template0 NAME"
            found.append(Error(f"The database's encoding is {encoding}, not UTF8.", hint=hint, id="trainmon.E007"))
        if fsync != "on" and not settings.TESTING:
            hint = "Set fsync = on in postgresql.conf: a power cut could destroy the database."
            found.append(Warning("The database server runs with fsync off.", hint=hint, id="trainmon.W008"))
    return found
