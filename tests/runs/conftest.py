"""People: alice and bob may see the trainer lora as viewer and operator, charlie is a stranger to it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from runs.models import Source, Trainer
from tests.runs import factories

BACKEND = "runs.signing.Accounts"


@pytest.fixture
def lora(db: None) -> Trainer:
    """A trainer that only the group team-lora may see."""
    return factories.make_trainer("lora", "team-lora")


@pytest.fixture
def alice(lora: Trainer) -> User:
    """A viewer in the trainer's group."""
    return factories.make_user("alice", "viewer", "team-lora")


@pytest.fixture
def bob(lora: Trainer) -> User:
    """An operator in the trainer's group."""
    return factories.make_user("bob", "operator", "team-lora")


@pytest.fixture
def charlie(lora: Trainer) -> User:
    """Signed in as a viewer, but in no group of the trainer."""
    return factories.make_user("charlie", "viewer")


@pytest.fixture
def ada(lora: Trainer) -> User:
    """Someone with the role admin, who is no superuser."""
    return factories.make_user("ada", "admin")


@pytest.fixture
def source(lora: Trainer) -> Source:
    """A source of the trainer; nothing lies there."""
    return factories.make_source(lora, root="/logs/lora")


@pytest.fixture
def client(alice: User) -> Client:
    """The browser of alice."""
    return signed_in(alice)


def words_of(answer: Any) -> str:
    """A page without what differs at each look: its id, the tokens of its forms, and how long ago things were."""
    page = re.sub(r"<code>[0-9a-f]{32}</code>", "", answer.content.decode())
    return re.sub(r'(data-csrf|value)="[A-Za-z0-9]{64}"|\d+ s ago|>now<|(datetime|title)="[^"]*"', "", page)


def signed_in(user: User) -> Client:
    """A client with the session of this user."""
    client = Client()
    client.force_login(user, backend=BACKEND)
    return client
