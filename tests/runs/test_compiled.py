"""Queries that are put together once answer as those that are put together each time."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User

from runs.compiled import Compiled, Given
from runs.models import Source, Trainer
from tests.runs.factories import make_source


def test_the_sql_is_asked_with_the_values_of_each_time(lora: Trainer, django_assert_num_queries: Any) -> None:
    compiled = Compiled(Trainer.objects.filter(slug=Given("slug")).values_list("name"))
    with django_assert_num_queries(2):
        assert compiled.rows(slug=lora.slug) == [(lora.name,)]
        assert compiled.rows(slug="'; --") == []


@pytest.mark.parametrize("private", [False, True])
def test_the_ids_of_sources_are_of_those_that_are_visible(
    lora: Trainer, alice: User, charlie: User, ada: User, settings: Any, private: bool
) -> None:
    make_source(lora)
    settings.TRAINMON_PRIVATE = private
    for user in (alice, charlie, ada, AnonymousUser(), User(is_active=False)):
        assert Source.objects.ids_visible_to(user) == {one.pk for one in Source.objects.visible_to(user)}
    lora.groups.clear()
    assert bool(Source.objects.ids_visible_to(charlie)) is not private
