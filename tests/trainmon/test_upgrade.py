"""P22: rows that the first version of a table held are there, unchanged, after every migration since."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from django.apps import apps as current
from django.core.management import call_command
from django.db import connection, connections, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor

from trainmon import backup

ALIAS, NAME = "upgrade", f"upgrade_{os.getpid()}"
OURS = ("runs", "costs", "streaming", "retention")
SAMPLES: list[tuple[type[models.Field], Any]] = [
    (models.JSONField, {"kept": [1, None]}),
    (models.BooleanField, True),
    (models.DateTimeField, datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)),
    (models.DateField, datetime(2026, 1, 2, tzinfo=UTC).date()),
    (models.BinaryField, b"\x00kept\xff"),
    (models.DecimalField, 1),
    (models.FloatField, 0.1),
    (models.IntegerField, 7),
    (models.GenericIPAddressField, "127.0.0.1"),
    (models.UUIDField, "00000000-0000-0000-0000-000000000001"),
    (models.TextField, "kept é"),
    (models.CharField, "kept"),
]


@pytest.fixture
def upgraded(db, django_db_blocker) -> Iterator[BaseDatabaseWrapper]:
    """An empty database of its own, beside that of the tests."""
    with psycopg.connect(backup.conninfo(), autocommit=True) as client:
        client.execute(f"create database {NAME} template template0")
    connections.databases[ALIAS] = connection.settings_dict | {"NAME": NAME}
    with django_db_blocker.unblock():  # a TestCase lets nobody connect to an alias made after it
        yield connections[ALIAS]
        connections[ALIAS].close()
    del connections[ALIAS]
    del connections.databases[ALIAS]
    with psycopg.connect(backup.conninfo(), autocommit=True) as client:
        client.execute(f"drop database {NAME} with (force)")


def sample(field: models.Field, made: dict[str, models.Model]) -> Any:
    """A value for a field that needs one."""
    if isinstance(field, models.ForeignKey):
        return fill(field.related_model, made).pk
    if field.choices:
        return field.choices[0][0]
    return next(value for kind, value in SAMPLES if isinstance(field, kind))


def fill(model: type[models.Model], made: dict[str, models.Model]) -> models.Model:
    """One row of a model as it was then, and of what that refers to."""
    if model._meta.label not in made:
        values = {
            field.attname: sample(field, made)
            for field in model._meta.concrete_fields
            if not (field.primary_key or field.null or field.has_default() or getattr(field, "auto_now_add", False))
        }
        made[model._meta.label] = model._default_manager.using(ALIAS).create(**values)
    return made[model._meta.label]


def test_rows_of_the_first_migrations_survive_to_the_last(upgraded):
    made: dict[str, models.Model] = {}
    graph = MigrationExecutor(upgraded).loader.graph
    roots = [node for node in graph.root_nodes() if node[0] in OURS]
    for root in sorted(roots, key=lambda node: len(graph.forwards_plan(node))):  # an app may need a later state of another
        executor = MigrationExecutor(upgraded)
        executor.migrate([root])
        for model in executor.loader.project_state([root]).apps.get_models():
            if model._meta.app_label == root[0]:
                fill(model, made)
    assert {"runs.Run", "runs.Source", "streaming.TensorBoard"} <= made.keys()

    call_command("migrate", database=ALIAS, verbosity=0, interactive=False)

    for label, old in made.items():
        new = current.get_model(label)._default_manager.using(ALIAS).get(pk=old.pk)
        for field in old._meta.concrete_fields:
            if hasattr(new, field.attname):
                was, now = getattr(old, field.attname), getattr(new, field.attname)
                as_bytes = isinstance(field, models.BinaryField)
                assert (bytes(now) == bytes(was)) if as_bytes else now == was, (label, field.name)


def test_a_second_migrate_changes_nothing(upgraded):
    call_command("migrate", database=ALIAS, verbosity=0, interactive=False)
    executor = MigrationExecutor(upgraded)
    assert executor.migration_plan(executor.loader.graph.leaf_nodes()) == []
