"""P17: every route denies by default.  A new open URL fails here until it is listed below."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from retention.models import Hold, RetentionPolicy
from runs.models import Job, LogFile, Note, Run, Sample, SavedView, Trainer
from streaming.models import TensorBoard
from tests.retention.oldruns import make_tomb
from tests.runs.conftest import signed_in, words_of
from tests.runs.factories import make_file, make_points, make_run, make_source, make_trainer, make_user

if TYPE_CHECKING:
    from pytest_django import Settings

#: What anybody may open.
OPEN = {"login"}


def routes(patterns: list | None = None, prefix: str = "", space: str = "") -> Iterator[tuple[str, str]]:
    """Every (name, path with its parameters) of the site."""
    for entry in get_resolver().url_patterns if patterns is None else patterns:
        path = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            inner = f"{space}{entry.namespace}:" if entry.namespace else space
            yield from routes(entry.url_patterns, path, inner)
        elif isinstance(entry, URLPattern):
            yield f"{space}{entry.name}", path


@pytest.fixture
def addresses(lora: Trainer, settings: Settings) -> dict[str, str]:
    """Each route with parameters that lead to something of the trainer lora."""
    settings.TRAINMON_API_RATE = [0, 0, 0]  # a walk is more than a minute's calls
    run = make_run(make_source(lora, root="/secret-logs/1"), name="secret-run", dataset="secret-data")
    file = make_file(run)
    make_points(run, "loss", [1.0, 2.0], file=file)
    job = Job.objects.create(source=run.source, run=run, external_id="secret-job")
    note = Note.objects.create(run=run, text="secret-note")
    sample = Sample.objects.create(run=run, log_file=file, generation=0, part=0, offset=0, length=99, kind="image",
                                   tag="secret-tag", step=1, wall=1.0)
    view = SavedView.objects.create(owner=make_user("dave", "viewer", "team-lora"), name="secret-view", query="trainer=lora")
    ids = {"note": note.pk, "sample": sample.pk, "view": view.pk}
    ids |= {"tensorboard": TensorBoard.objects.create(trainer=lora, reason="secret-tag").pk}
    ids |= {"retentionpolicy": RetentionPolicy.objects.create(name="secret-view", trainer=lora, keep_last=1).pk}
    tomb = make_tomb(run)
    ids |= {"hold": Hold.objects.create(run=run, reason="secret-tag").pk}
    ids |= {"plan": tomb.planned.plan_id, "tomb": tomb.pk}
    ids |= {"trainer": lora.pk, "source": run.source_id, "run": run.pk, "job": job.pk, "logfile": file.pk}
    return {name: "/" + filled(name, path, ids) for name, path in routes()}


def filled(name: str, path: str, ids: dict[str, int]) -> str:
    model = next((model for model in ids if f"_{model}_" in name), "run")
    owners = {"source": "source", "job": "job", "policy": "retentionpolicy", "cleanup": "plan", "trash": "tomb"}
    own = next((owners[one] for one in owners if name.removeprefix("api:").startswith(one)), "run")
    for pattern, value in {
        "<int:pk>": ids["view" if "view" in name.split("-") else own], "<slug:slug>": "lora",
        "<int:note>": ids["note"], "<int:sample>": ids["sample"], "<int:file>": ids["logfile"], "<str:job>": ids["job"],
        "<path:object_id>": ids[model], "<id>": ids[model], "<str:app_label>": "runs",
        "<int:content_type_id>": 1, "<path:url>": "x", "<path:rest>": "data/runs",
        "(?P<app_label>auth|axes|retention|runs|streaming)": "runs",
    }.items():
        path = path.replace(pattern, str(value))
    for sign in ("^", "$", "\\Z"):
        path = path.replace(sign, "")
    return path.split("(?P<")[0]


def body(answer: Any) -> bytes:
    """All that was answered, also what is made while it is read."""
    if answer.headers.get("Content-Type") == "text/event-stream":  # tests/streaming reads these: they do not end
        return b""
    return b"".join(answer) if answer.streaming else answer.content


def test_every_route_is_closed_to_the_anonymous(addresses: dict[str, str]) -> None:
    """P17."""
    opened = []
    for name, path in addresses.items():
        answer = Client().get(path)
        sent_away = answer.status_code == 302 and "/login/" in answer["Location"]
        if name not in OPEN and not sent_away and answer.status_code not in (401, 403, 404, 405):
            opened.append((name, path, answer.status_code))
    assert opened == []
    assert {"home", "runs", "run", "trainer", "source", "account", "login", "logout", "admin:runs_run_change"} <= addresses.keys()


def test_the_anonymous_is_asked_to_sign_in_and_returns_to_the_page(addresses: dict[str, str]) -> None:
    answer = Client().get(addresses["run"])
    assert answer.status_code == 302
    assert answer["Location"] == f"{reverse('login')}?next={addresses['run']}"


def test_no_route_shows_a_stranger_anything_of_the_trainer(addresses: dict[str, str], charlie: User) -> None:
    """P17."""
    client, shown = signed_in(charlie), []
    for name, path in addresses.items():
        answer = client.get(path)
        words = (b"secret-run", b"secret-data", b"secret-job", b"secret-note", b"secret-tag", b"secret-view", b"/secret-logs/")
        if answer.status_code == 200 and any(word in body(answer) for word in words):
            shown.append((name, path))
    assert shown == []


def test_a_stranger_with_the_role_operator_sees_nothing_of_it_in_the_admin(addresses: dict[str, str]) -> None:
    client = signed_in(make_user("dora", "operator"))
    for name, path in addresses.items():
        answer = client.get(path)
        assert b"secret-run" not in body(answer), name
        assert b"secret-job" not in body(answer), name
        if name.endswith("_change") and name.startswith("admin:runs"):
            # Django's "doesn't exist. Perhaps it was deleted?"; 403 where an operator may look at none at all
            assert answer.status_code in (302, 403), name


def test_a_run_that_is_not_visible_looks_like_one_that_does_not_exist(
    addresses: dict[str, str], charlie: User
) -> None:
    hidden = signed_in(charlie).get(addresses["run"])
    missing = signed_in(charlie).get("/runs/999999/")
    assert hidden.status_code == missing.status_code == 404
    assert words_of(hidden) == words_of(missing)


def test_members_and_admins_see_the_run(addresses: dict[str, str], alice: User, bob: User, ada: User) -> None:
    for user in (alice, bob, ada):
        answer = signed_in(user).get(addresses["run"])
        assert answer.status_code == 200
        assert "secret-run" in answer.content.decode()


def test_a_trainer_without_groups_is_seen_by_everybody_who_signs_in(charlie: User) -> None:
    run = make_run(make_source(make_trainer("open")))
    assert signed_in(charlie).get(run.get_absolute_url()).status_code == 200


def test_trainmon_private_hides_trainers_without_groups(charlie: User, ada: User, settings: Settings) -> None:
    run = make_run(make_source(make_trainer("open")), name="quiet-run")
    settings.TRAINMON_PRIVATE = True
    assert signed_in(charlie).get(run.get_absolute_url()).status_code == 404
    assert "quiet-run" not in signed_in(charlie).get(reverse("runs")).content.decode()
    assert signed_in(ada).get(run.get_absolute_url()).status_code == 200


def test_leaving_the_group_closes_the_page_at_once(addresses: dict[str, str], alice: User) -> None:
    client = signed_in(alice)
    assert client.get(addresses["run"]).status_code == 200
    alice.groups.remove(Group.objects.get(name="team-lora"))
    assert client.get(addresses["run"]).status_code == 404


def test_a_deactivated_user_is_signed_out(addresses: dict[str, str], alice: User) -> None:
    client = signed_in(alice)
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert client.get(addresses["run"]).status_code == 302


def test_a_viewer_may_not_enter_the_admin(alice: User) -> None:
    client = signed_in(alice)
    answer = client.get(reverse("admin:index"), follow=True)
    assert answer.status_code == 403
    assert "Not allowed" in answer.content.decode()
    assert reverse("admin:index") not in client.get(reverse("home")).content.decode()


def test_the_admin_has_no_sign_in_of_its_own() -> None:
    answer = Client().get("/admin/login/?next=/admin/runs/run/")
    assert answer.status_code == 302
    assert answer["Location"].startswith(reverse("login"))


@pytest.mark.django_db
def test_sign_in_leads_to_no_foreign_site() -> None:
    make_user("eve")
    answer = Client().post(reverse("login"), {"username": "eve", "password": "password", "next": "https://evil.example/"})
    assert answer["Location"] == reverse("home")


@pytest.mark.django_db
def test_guessing_passwords_is_throttled() -> None:
    make_user("eve")
    client = Client()
    for _ in range(10):
        answer = client.post(reverse("login"), {"username": "eve", "password": "wrong"})
    assert answer.status_code == 429
    right = client.post(reverse("login"), {"username": "eve", "password": "password"})
    assert right.status_code == 429


def test_signing_out_needs_a_post_with_the_token(alice: User) -> None:
    assert signed_in(alice).get(reverse("logout")).status_code == 405
    forged = Client(enforce_csrf_checks=True)
    forged.force_login(alice, backend="runs.signing.Accounts")
    answer = forged.post(reverse("logout"))
    assert answer.status_code == 403
    assert "Please try again" in answer.content.decode()


def test_rows_of_others_are_not_reached_by_filters(addresses: dict[str, str], charlie: User, lora: Trainer) -> None:
    dataset = Run.objects.get().dataset_id
    for query in (f"trainer={lora.slug}", f"dataset={dataset}"):
        answer = signed_in(charlie).get(f"{reverse('runs')}?{query}")
        assert answer.status_code == 400
        assert "secret" not in answer.content.decode()
    assert LogFile.objects.exists()
