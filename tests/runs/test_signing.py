"""The account of a session: its role and permissions come with few queries, and are asked for anew each time."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group, Permission, User

from runs.roles import VIEWER, sees_everything
from runs.signing import Accounts
from tests.runs.conftest import signed_in


def test_the_account_knows_its_role_without_another_query(alice: User, ada: User, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(2):
        seen = [sees_everything(user) for pk in (alice.pk, ada.pk) if (user := Accounts().get_user(pk))]
    assert seen == [False, True]


def test_a_deactivated_or_deleted_account_is_nobody(alice: User) -> None:
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert Accounts().get_user(alice.pk) is None
    assert Accounts().get_user(2**40) is None


def test_its_permissions_are_its_own_and_its_groups_in_one_query(alice: User, django_assert_num_queries: Any) -> None:
    alice.user_permissions.add(Permission.objects.get(codename="change_run"))
    user = User.objects.get(pk=alice.pk)
    with django_assert_num_queries(1):
        assert user.has_perm("runs.view_run") and user.has_perm("runs.change_run") and not user.has_perm("runs.delete_run")
    assert user.get_all_permissions() == user.get_user_permissions() | user.get_group_permissions()


def test_a_role_that_is_taken_away_is_gone_with_the_next_request(ada: User) -> None:
    client = signed_in(ada)
    assert client.get("/api/me/").json()["sees_everything"]
    ada.groups.set([Group.objects.get(name=VIEWER)])
    assert not client.get("/api/me/").json()["sees_everything"]
