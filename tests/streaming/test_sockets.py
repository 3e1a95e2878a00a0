"""Who may hold a socket, until when, and how much it may say or leave unread."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from websockets.exceptions import ConnectionClosed, InvalidStatus

from runs.models import Run, Trainer
from streaming import access, hub, reader
from streaming.asked import LONGEST
from streaming.database import ask
from streaming.routing import may_ask, sockets
from tests.runs.conftest import signed_in
from tests.runs.factories import make_run, make_source
from tests.streaming.pages import Near, near, taken_in
from tests.streaming.sites import Site, change, cookie_of, page

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def run(lora: Trainer) -> Run:
    return make_run(make_source(lora), name="qwen", step=1)


def row(run: Run, version: int = 0) -> dict[str, Any]:
    return {"kind": "run-row", "id": run.pk, "version": version, "spec": "column=step"}


# Who


@pytest.mark.parametrize("cookie", ["", "sessionid=guessed", "sessionid=" + "x" * 5000, "\x00=\xff;;;"])
async def test_who_is_not_signed_in_is_told_so(cookie: str):
    assert await (await Near(cookie).open()).closed() == 4401


@pytest.mark.parametrize(("origin", "host", "may"), [
    ("http://testserver", "testserver", True),
    ("https://testserver", "testserver", True),
    ("http://testserver:80", "testserver", True),
    ("http://localhost:8000", "localhost:8000", True),
    ("http://[::1]:8000", "[::1]:8000", True),
    ("http://localhost:6006", "localhost:8000", False),
    ("http://evil.example", "testserver", False),
    ("http://testserver.evil.example", "testserver", False),
    ("http://evil.example", "evil.example", False),
    ("null", "testserver", False),
    ("", "testserver", False),
    ("file:///x", "testserver", False),
    ("http://testserver:99999999", "testserver", False),
    ("https://board.example.org", "inside", True),
    ("https://a.boards.example.org", "inside", True),
    ("http://board.example.org", "inside", False),
])  # fmt: skip
def test_only_pages_of_this_site_open_sockets(origin: str, host: str, may: bool, settings: Any):
    settings.ALLOWED_HOSTS = ["testserver", "localhost", "[::1]"]
    settings.CSRF_TRUSTED_ORIGINS = ["https://board.example.org", "https://*.boards.example.org"]
    assert may_ask(origin, host) is may


async def test_a_socket_from_elsewhere_is_not_opened(alice: User):
    one = Near(await ask(cookie_of, alice), origin="http://evil.example")
    connected, _ = await one.socket.connect()
    assert not connected


async def test_there_is_one_address_of_sockets():
    one = WebsocketCommunicator(sockets, "/ws/other/", headers=[(b"host", b"testserver"), (b"origin", b"http://testserver")])
    connected, _ = await one.connect()
    assert not connected


def test_a_real_site_refuses_other_origins_and_strangers(deaf: Site, alice: User):
    for origin in ("http://evil.example", f"http://127.0.0.1:{deaf.port + 1}", None):
        with pytest.raises(InvalidStatus, match="403") as refused, page(deaf, alice, origin=origin):
            pass
        assert refused.value.response.headers["X-Correlation-ID"]
    with page(deaf) as nobody:
        assert nobody.socket.response.headers["X-Correlation-ID"]
        assert nobody.closed() == 4401
    prefixed = urllib.request.Request(f"{deaf.url}/x/login/", headers={"Daphne-Root-Path": "/x"})
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(prefixed)


# Until when


@pytest.fixture
def unlooked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks who may still see what: it is told, or not known."""
    monkeypatch.setattr(hub, "RECHECK", 3600)


@pytest.mark.usefixtures("unlooked")
async def test_signing_out_ends_the_sockets_of_that_session_alone(alice: User, run: Run):
    client = await ask(signed_in, alice)
    cookie = f"sessionid={client.cookies['sessionid'].value}"
    one, other = await Near(cookie).open(), await near(alice)
    for each in (one, other):
        await each.say(watch=[row(run)])
    await taken_in(2)
    await ask(client.post, "/logout/")
    assert await one.closed() == 4401
    await ask(change, run, step=2)
    assert (await other.frame())["fragments"]
    await other.leave()


@pytest.mark.parametrize("what", ["password", "inactive", "deleted session"])
async def test_whose_account_changes_is_signed_out(what: str, alice: User, run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hub, "RECHECK", 3600 if what == "password" else 0.5)  # a password is told, the others are looked for
    one = await near(alice)
    await one.say(watch=[row(run)])
    await taken_in()

    def happen() -> None:
        if what == "password":
            alice.set_password("another one")
            alice.save()
        elif what == "inactive":
            User.objects.filter(pk=alice.pk).update(is_active=False)
        else:
            Session.objects.all()._raw_delete("default")

    await ask(happen)
    assert await one.closed() == 4401


@pytest.mark.usefixtures("unlooked")
@pytest.mark.parametrize("what", ["user leaves the group", "trainer leaves the group"])
async def test_what_may_not_be_seen_any_more_ends_the_socket_before_anything_of_it_is_sent(
    what: str, alice: User, lora: Trainer, run: Run, monkeypatch: pytest.MonkeyPatch
):
    standing = access.standing
    monkeypatch.setattr(access, "standing", lambda accounts: (time.sleep(0.5), standing(accounts))[1])  # a busy database
    one = await near(alice)
    await one.say(watch=[row(run)])
    await taken_in()

    def happen() -> None:
        if what == "user leaves the group":
            alice.groups.remove(lora.groups.get())
        else:
            lora.groups.set([lora.groups.create(name="others")])

    await ask(happen)
    await ask(change, run, step=4711)
    message = await one.socket.receive_output(15)
    assert message["type"] == "websocket.close" and message["code"] == 4403


def test_another_process_that_signs_out_or_takes_a_group_away_ends_sockets_within_ten_seconds(
    deaf: Site, alice: User, bob: User, run: Run
):
    client = signed_in(bob)
    with page(deaf, alice) as hers, page(deaf, cookie=f"sessionid={client.cookies['sessionid'].value}") as his:
        for each in (hers, his):
            each.say(watch=[row(run, -1)])
            each.frame()
        client.post("/logout/")
        alice.groups.remove(alice.groups.get(name="team-lora"))
        assert his.closed(30) == 4401 and hers.closed(30) == 4403
    assert hub.RECHECK <= 5  # seconds between two looks; the limit above is that of a busy machine


# How much


async def test_a_flood_ends_the_socket(alice: User):
    one = await near(alice)
    for _ in range(300):
        await one.say(ack=0)
    assert await one.closed() == 4429


async def test_floods_of_nonsense_and_of_subscriptions_end_sooner(alice: User):
    for said in ("{", '{"lists": true}'):
        one = await near(alice)
        for _ in range(30):
            await one.socket.send_to(text_data=said)
        assert await one.closed() == 4429


@pytest.mark.parametrize("said", [
    "[]", "null", "{", '{"watch": 1}', '{"watch": [{"kind": "run-row"}]}', '{"watch": [{"kind": "run-row", "id": 0}]}',
    '{"watch": [{"kind": "run-row", "id": 1e999}]}', '{"watch": [{"kind": "run-row", "id": 9223372036854775808}]}',
    '{"watch": [{"kind": "nothing", "id": 1}]}', '{"watch": [{"kind": "run-row", "id": 1, "spec": "column=nothing"}]}',
    json.dumps({"watch": [{"kind": "run-row", "id": 1, "spec": "column=a&" * 1100}]}),
    '{"watch": [{"kind": "run-row", "id": 1, "spec": "column=\\u0000"}]}', '{"watch": [{"kind": "\\ud800", "id": 1}]}',
    '{"series": [{"run": 1, "tag": "x", "since": [1, 2, 3]}]}', '{"series": [{"run": 1, "tag": "x", "since": [1, -2, 3, 4, 5]}]}',
    '{"series": [{"run": 1, "tag": "\\u0000"}]}', '{"series": [{"run": 1, "tag": "x", "since": [1, 4294967296, 3, 4, 5]}]}',
    json.dumps({"watch": [{"kind": "job-progress", "id": pk} for pk in range(1, 1002)]}),
    json.dumps({"watch": [{"kind": "run-row", "id": 1, "spec": f"column=param:{number}"} for number in range(21)]}),
    "[" * 100_000, "x" * (LONGEST + 1),
])  # fmt: skip
async def test_nonsense_is_refused_in_words_and_what_was_shown_stays(said: str, alice: User, run: Run):
    one = await near(alice)
    await one.say(watch=[row(run)])
    await taken_in()
    await one.socket.send_to(text_data=said)
    assert (await one.frame())["refused"]
    await ask(change, run, step=2)
    assert (await one.frame())["fragments"]
    await one.leave()


async def test_odd_places_of_a_chart_are_answered_by_looking_anew(alice: User, run: Run):
    from tests.runs.factories import make_points

    await ask(make_points, run, "loss", [3.0, 2.0])
    one = await near(alice)
    most = 2**63 - 1
    await one.say(series=[{"run": run.pk, "tag": "loss", "since": [most, 2**31 - 1, 0, most, 0]}, {"run": run.pk, "tag": ""}])
    frame = await one.frame()
    assert {(each["tag"], each["refetch"]) for each in frame["series"]} == {("loss", True), ("", True)}
    await one.leave()


def test_a_message_without_end_is_cut_off_by_a_real_site(deaf: Site, alice: User):
    with page(deaf, alice) as one, pytest.raises(ConnectionClosed):
        one.socket.send("x" * (LONGEST + 1))
        one.socket.recv(20)


def test_neither_fragments_without_end_nor_floods_of_pings_are_kept_by_a_real_site(deaf: Site, alice: User):
    """Thirty sockets that never ended a message held 450 MB of the site."""
    with page(deaf, alice) as one, pytest.raises(ConnectionClosed):
        one.socket.send("x" * 1000 for _ in range(LONGEST // 1000 + 100))
        one.socket.recv(20)
    with page(deaf, alice) as one, pytest.raises(ConnectionClosed):
        for _ in range(30):
            one.socket.ping()
        one.socket.recv(20)


async def test_who_does_not_acknowledge_gets_eight_frames_and_is_let_go(alice: User, run: Run, monkeypatch: pytest.MonkeyPatch):
    one = await near(alice)
    await one.say(watch=[row(run)])
    await taken_in()
    for step in range(reader.WINDOW):
        await ask(change, run, step=step)
        await one.frame(acknowledge=False)
    monkeypatch.setattr(reader, "PATIENCE", 0.5)
    await ask(change, run, step=4711)
    message = await one.socket.receive_output(15)
    assert message["type"] == "websocket.close" and message["code"] == 4408


async def test_who_acknowledges_late_gets_the_newest_state_and_nothing_in_between(alice: User, run: Run):
    one = await near(alice)
    await one.say(watch=[row(run)])
    await taken_in()
    frames = []
    for step in range(reader.WINDOW):
        await ask(change, run, step=step)
        frames.append(await one.frame(acknowledge=False))
    for step in range(5):
        last = await ask(change, run, step=step)
    assert await one.quiet(0.3)
    await one.say(ack=frames[-1]["seq"])
    assert [each["version"] for each in (await one.frame())["fragments"]] == [last]
    await one.leave()


async def test_a_user_has_a_bounded_number_of_sockets(alice: User, bob: User, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hub, "MOST_OF_ONE", 2)
    held = [await near(alice), await near(alice)]
    assert await (await near(alice)).closed() == 4429
    held.append(await near(bob))
    for each in held:
        await each.leave()
    await (await near(alice)).leave()


async def test_a_quiet_socket_is_kept_alive(alice: User, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reader, "KEEPALIVE", 0.3)
    one = await near(alice)
    for _ in range(3):
        assert (await one.frame())["keepalive"] == pytest.approx(time.time(), abs=15)
    await one.leave()
