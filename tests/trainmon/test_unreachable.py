"""A database that does not answer: pages and the API say so, and when to come back. A broker that hangs holds nobody up."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from threading import Event, Thread

import kombu
import pytest
from django.conf import settings
from django.db import DataError, InterfaceError, OperationalError, connection
from django.test import Client

from tests.runs.conftest import signed_in
from tests.runs.factories import make_user
from trainmon.celery import app
from trainmon.views import is_unreachable

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def client() -> Client:
    client = signed_in(make_user("alice", "viewer"))
    client.raise_request_exception = False
    return client


def says_when_to_come_back(client: Client) -> None:
    page, api = client.get("/runs/"), client.get("/api/runs/")
    assert (page.status_code, api.status_code) == (503, 503)
    assert page["Retry-After"] == api["Retry-After"] == "10"
    assert "The database does not answer" in page.content.decode()
    assert api["Content-Type"] == "application/problem+json"
    assert api.json()["type"] == "urn:trainmon:problem:unavailable"


@pytest.fixture
def settings_of_it() -> Iterator[dict[str, object]]:
    """The settings of the connection, put back afterwards."""
    kept = {name: connection.settings_dict[name] for name in ("HOST", "OPTIONS")}
    connection.close()
    yield connection.settings_dict
    connection.close()
    connection.close_pool()
    connection.settings_dict.update(kept)


def test_a_database_that_is_down_is_told_as_a_503(client: Client, settings_of_it: dict[str, object]) -> None:
    settings_of_it |= {"HOST": "127.0.0.1", "OPTIONS": {"port": 1, "connect_timeout": 2}}
    says_when_to_come_back(client)


def test_a_pool_that_is_taken_up_is_told_as_a_503(client: Client, settings_of_it: dict[str, object]) -> None:
    settings_of_it["OPTIONS"] = {**connection.settings_dict["OPTIONS"], "pool": {"min_size": 1, "max_size": 1, "timeout": 0.2}}
    taken, done = Event(), Event()

    def hold() -> None:
        connection.settings_dict["OPTIONS"] = settings_of_it["OPTIONS"]
        connection.ensure_connection()
        taken.set()
        done.wait(30)
        connection.close()

    holder = Thread(target=hold)
    holder.start()
    try:
        assert taken.wait(10)
        says_when_to_come_back(client)
    finally:
        done.set()
        holder.join()
    assert client.get("/runs/").status_code == 200


def test_what_the_database_refuses_is_an_error_of_ours() -> None:
    for statement, unreachable in [("SELECT 1/0", False), ("SET LOCAL statement_timeout = 1; SELECT pg_sleep(1)", False),
                                   ("SELECT pg_terminate_backend(pg_backend_pid())", True)]:
        with pytest.raises((DataError, OperationalError, InterfaceError)) as refused, connection.cursor() as cursor:
            cursor.execute(statement)
        assert is_unreachable(refused.value) is unreachable
        connection.close()


def test_whoever_orders_something_is_not_held_up_by_a_broker_that_listens_and_says_nothing() -> None:
    options = settings.CELERY_BROKER_TRANSPORT_OPTIONS
    assert options["socket_timeout"] <= 5  # without one this would wait for ever
    options = {**options, "socket_timeout": 0.2}
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        bus = kombu.Connection(f"redis://127.0.0.1:{deaf.getsockname()[1]}/0", transport_options=options)
        with bus, pytest.raises(kombu.exceptions.OperationalError, match="Timeout reading"):
            app.send_task("runs.tasks.heartbeat", connection=bus, retry=False)
