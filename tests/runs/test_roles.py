"""CH-62: what viewer, operator and admin may do, and that nobody makes himself more."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, User
from django.urls import reverse

from runs.models import Trainer
from tests.runs.conftest import signed_in
from tests.runs.factories import make_run, make_source, make_trainer

MATRIX = [
    # page of the admin, operator, admin
    ("admin:index", 200, 200),
    ("admin:runs_run_changelist", 200, 200),
    ("admin:runs_source_changelist", 200, 200),
    ("admin:runs_source_add", 200, 200),
    ("admin:runs_trainer_add", 200, 200),
    ("admin:runs_job_changelist", 200, 200),
    ("admin:runs_logfile_changelist", 200, 200),
    ("admin:runs_run_add", 403, 403),
    ("admin:runs_job_add", 403, 403),
    ("admin:runs_logfile_add", 403, 403),
    ("admin:auth_user_changelist", 403, 200),
    ("admin:auth_user_add", 403, 200),
    ("admin:auth_group_changelist", 403, 200),
]


@pytest.mark.parametrize(("name", "operator", "admin"), MATRIX)
def test_the_matrix_of_roles(name: str, operator: int, admin: int, alice: User, bob: User, ada: User) -> None:
    """CH-62."""
    assert signed_in(alice).get(reverse(name)).status_code == 302
    assert signed_in(bob).get(reverse(name)).status_code == operator
    assert signed_in(ada).get(reverse(name)).status_code == admin


def user_form(user: User, **changes: object) -> dict[str, object]:
    """What the admin's form of a user sends."""
    return {"username": user.username, "is_active": "on", "groups": list(user.groups.values_list("pk", flat=True))} | changes




def test_getting_and_losing_a_role_follows_in_is_staff(charlie: User) -> None:
    operator = Group.objects.get(name="operator")
    charlie.groups.add(operator)
    assert User.objects.get(pk=charlie.pk).is_staff
    charlie.groups.remove(operator)
    assert not User.objects.get(pk=charlie.pk).is_staff


def test_an_admin_cannot_make_himself_superuser(ada: User) -> None:
    change = reverse("admin:auth_user_change", args=[ada.pk])
    answer = signed_in(ada).post(change, user_form(ada, is_superuser="on", user_permissions=[1, 2, 3]))
    ada.refresh_from_db()
    assert answer.status_code == 302
    assert not ada.is_superuser
    assert not ada.user_permissions.exists()


def test_an_admin_cannot_take_over_or_delete_a_superuser(ada: User) -> None:
    root = User.objects.create_superuser("root", password="password")
    client = signed_in(ada)
    assert client.post(reverse("admin:auth_user_change", args=[root.pk]), user_form(root)).status_code == 403
    password = reverse("admin:auth_user_password_change", args=[root.pk])
    assert client.post(password, {"password1": "new-Pass-99!", "password2": "new-Pass-99!"}).status_code == 403
    assert client.post(reverse("admin:auth_user_delete", args=[root.pk]), {"post": "yes"}).status_code == 403
    many = {"action": "delete_selected", "_selected_action": [root.pk], "post": "yes"}
    client.post(reverse("admin:auth_user_changelist"), many)
    assert User.objects.get(pk=root.pk).check_password("password")


def test_an_admin_gives_the_role_operator(ada: User, charlie: User) -> None:
    groups = [Group.objects.get(name="operator").pk]
    signed_in(ada).post(reverse("admin:auth_user_change", args=[charlie.pk]), user_form(charlie, groups=groups))
    charlie.refresh_from_db()
    assert charlie.is_staff


def test_the_three_roles_can_be_neither_renamed_nor_deleted(ada: User) -> None:
    viewer = Group.objects.get(name="viewer")
    client = signed_in(ada)
    client.post(reverse("admin:auth_group_change", args=[viewer.pk]), {"name": "nobody"})
    assert client.post(reverse("admin:auth_group_delete", args=[viewer.pk]), {"post": "yes"}).status_code == 403
    assert Group.objects.filter(name="viewer").exists()


def test_an_operator_cannot_show_a_trainer_to_others(bob: User, lora: Trainer) -> None:
    everyone = Group.objects.create(name="everyone")
    form = {"name": "lora", "slug": "lora", "groups": [everyone.pk], "sources-TOTAL_FORMS": 0, "sources-INITIAL_FORMS": 0}
    signed_in(bob).post(reverse("admin:runs_trainer_change", args=[lora.pk]), form)
    assert [group.name for group in lora.groups.all()] == ["team-lora"]


def test_an_operator_adds_sources_to_visible_trainers_only(bob: User, lora: Trainer) -> None:
    hidden = make_trainer("router", "team-router")
    add = reverse("admin:runs_source_add")
    form = {"root": "/logs/new", "layout": "auto", "enabled": "on"}
    assert signed_in(bob).post(add, form | {"trainer": hidden.pk}).status_code == 200
    assert signed_in(bob).post(add, form | {"trainer": lora.pk}).status_code == 302
    assert [source.root for source in lora.sources.all()] == ["/logs/new"]
    assert not hidden.sources.exists()


def test_an_operator_names_and_pins_runs_a_viewer_does_not(alice: User, bob: User, lora: Trainer) -> None:
    run = make_run(make_source(lora), name="before")
    change, form = reverse("admin:runs_run_change", args=[run.pk]), {"name": "after", "tags": "a,b", "pinned": "on"}
    signed_in(alice).post(change, form)
    run.refresh_from_db()
    assert run.name == "before"
    signed_in(bob).post(change, form)
    run.refresh_from_db()
    assert (run.name, run.tags, run.pinned, run.version) == ("after", ["a", "b"], True, 3)


