"""What every answer says to browsers: nothing foreign, nothing framed, nothing kept; and what is said when it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from runs.models import Run, Trainer
from tests.runs.conftest import BACKEND, signed_in
from tests.runs.factories import make_run, make_source, make_user

if TYPE_CHECKING:
    from pytest_django import Settings

pytestmark = pytest.mark.django_db


@pytest.fixture
def run(lora: Trainer) -> Run:
    return make_run(make_source(lora), name="secret-run")


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse:Warning")
def test_every_answer_carries_the_headers(addresses: dict[str, str]) -> None:
    """P17: pages, API, admin, refusals."""
    client = signed_in(User.objects.create_superuser("root"))
    lacking = []
    for path in addresses.values():
        for who in (client, Client()):
            answer = who.get(path)
            said = answer.headers
            policy = said.get("Content-Security-Policy", "")
            if path == reverse("api:docs"):  # Swagger UI writes style attributes; no script of its own
                policy = policy.replace("style-src 'self' 'unsafe-inline'", "")
            strict = "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
            # a run's page shows its TensorBoard in a frame
            framed = "SAMEORIGIN" if path.startswith("/tensorboard/lora/") else "DENY"
            good = {
                # what a log file brought has a stricter one of its own
                "csp": strict or "sandbox" in policy,
                "nosniff": said.get("X-Content-Type-Options") == "nosniff",
                "frames": said.get("X-Frame-Options") == framed or "sandbox" in policy,
                "referrer": said.get("Referrer-Policy") == "same-origin",
                "kept": "no-store" in said.get("Cache-Control", "") or "private" in said.get("Cache-Control", ""),
                "opener": said.get("Cross-Origin-Opener-Policy") == "same-origin",
            }
            lacking += [(path, answer.status_code, name) for name, holds in good.items() if not holds]
    assert lacking == []


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse:Warning")
def test_static_files_carry_them_too() -> None:
    """An SVG opened by its own address is a page."""
    said = Client().get("/static/icon.svg").headers
    assert "default-src 'none'" in said["Content-Security-Policy"]
    assert said["X-Content-Type-Options"] == "nosniff"
    assert said["Referrer-Policy"] == said["Cross-Origin-Opener-Policy"] == "same-origin"


def test_pages_behind_the_sign_in_are_kept_nowhere(run: Run, alice: User) -> None:
    """The back button shows nothing after signing out."""
    for path in (reverse("home"), reverse("runs"), run.get_absolute_url(), reverse("account"), reverse("login")):
        assert "no-store" in signed_in(alice).get(path)["Cache-Control"], path


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(alice: User, settings: Settings) -> None:
    client = Client()
    client.post(reverse("login"), {"username": "alice", "password": "password"})
    cookie = client.cookies["sessionid"]
    assert cookie["httponly"] and cookie["samesite"] == "Lax"
    settings.SESSION_COOKIE_SECURE = True
    again = Client()
    again.post(reverse("login"), {"username": "alice", "password": "password"}, secure=True)
    assert again.cookies["sessionid"]["secure"]


def test_the_sign_in_says_how_long_it_is_closed_and_not_whether_there_is_such_a_user() -> None:
    make_user("eve")
    said = []
    for name in ("eve", "nobody"):
        client = Client()
        for _ in range(10):
            answer = client.post(reverse("login"), {"username": name, "password": "wrong"}, REMOTE_ADDR="10.0.0.7")
        assert (answer.status_code, answer["Retry-After"]) == (429, "900")
        assert "closed for 15 minutes" in answer.content.decode()
        said.append(answer.content)
    assert said[0] == said[1]
    # another name, or the same from elsewhere, is not closed
    for name, address in (("bill", "10.0.0.7"), ("eve", "10.0.0.8")):
        open_ = Client().post(reverse("login"), {"username": name, "password": "wrong"}, REMOTE_ADDR=address)
        assert open_.status_code == 200


@pytest.mark.parametrize("away", ["https://evil.example/", "//evil.example", "javascript:alert(1)", "/\\evil.example"])
def test_sign_in_leads_nowhere_else(alice: User, away: str) -> None:
    answer = Client().post(reverse("login"), {"username": "alice", "password": "password", "next": away})
    assert answer["Location"] == reverse("home")


def test_refusals_stand_in_the_frame_and_say_what_to_do(alice: User, run: Run) -> None:
    client = signed_in(alice)
    missing = client.get("/nothing/")
    assert missing.status_code == 404
    refused = client.post(reverse("source-sync", args=[run.source_id]))
    assert refused.status_code == 403
    for answer, words in ((missing, "There is nothing at this address"), (refused, "An administrator can give you")):
        page = answer.content.decode()
        assert words in page and 'class="rail"' in page
    assert 'class="rail"' not in Client().get("/nothing/").content.decode()


def test_a_forged_form_changes_nothing_and_says_so(alice: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice, backend=BACKEND)
    answer = client.post(reverse("account-tokens"), {"name": "forged", "scope": "read", "lifetime": "30"})
    assert answer.status_code == 403
    assert "Nothing was changed." in answer.content.decode()
    assert not alice.api_tokens.exists()


def test_a_foreign_host_name_is_refused(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["trainmon.example.org"]
    answer = Client(headers={"Host": "evil.example"}).get(reverse("login"))
    assert answer.status_code == 400
    assert "TRAINMON_HOSTS" in answer.content.decode()
    assert "evil" not in answer.content.decode()
