"""Folders are registered once, whatever path leads to them."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.db import connection

from runs.models import Source
from runs.sources import register


@pytest.mark.django_db
def test_a_link_to_a_registered_folder_is_refused_and_so_is_the_folder_of_a_registered_link(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "logs")
    register(f"a={tmp_path}/logs")
    with pytest.raises(ValidationError, match="contain one another"):
        register(f"b={tmp_path}/link")
    Source.objects.all().delete()
    register(f"b={tmp_path}/link")
    with pytest.raises(ValidationError, match="contain one another"):
        register(f"a={tmp_path}/logs")


@pytest.mark.django_db
def test_a_root_is_stored_without_detours_and_inside_another_refused(tmp_path):
    (tmp_path / "logs" / "deep").mkdir(parents=True)
    source = register(f"a={tmp_path}/logs/deep/..")
    assert source.root == str(tmp_path / "logs")
    with pytest.raises(ValidationError, match="registered twice"):
        register(f"b={tmp_path}/logs/deep")


@pytest.mark.django_db
def test_a_place_of_our_own_is_no_source_whatever_leads_there(tmp_path, settings):
    """Else an operator could stop every cleanup, and read what others buried."""
    settings.TRAINMON_ARCHIVE = str(tmp_path / "archive")
    (tmp_path / "archive/deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "archive")
    (tmp_path / ".trainmon-trash/run-7").mkdir(parents=True)
    for root in (tmp_path / "archive/deep", tmp_path / "link", tmp_path / ".trainmon-trash/run-7"):
        with pytest.raises(ValidationError, match="where trainmon keeps"):
            register(f"a={root}")
    (tmp_path / "archived").mkdir()
    assert register(f"a={tmp_path}/archived").enabled


@pytest.mark.django_db
def test_a_disabled_source_holds_no_folder_back(tmp_path):
    (tmp_path / "logs" / "deep").mkdir(parents=True)
    register(f"a={tmp_path}/logs")
    Source.objects.update(enabled=False)
    assert register(f"b={tmp_path}/logs/deep").trainer.slug == "b"


@pytest.mark.django_db(transaction=True)
def test_several_who_register_one_folder_at_once_get_the_same_source(tmp_path: Path) -> None:
    found: list[int] = []

    def one() -> None:
        found.append(register(f"a={tmp_path}").pk)
        connection.close()

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6 and len(set(found)) == 1


@pytest.mark.django_db
def test_who_loses_the_role_loses_the_admin_however_it_is_taken():
    user = User.objects.create_user("bob")
    role = Group.objects.get(name="operator")
    for take in (lambda: user.groups.remove(role), role.user_set.clear, lambda: role.user_set.remove(user), user.groups.clear):
        user.groups.add(role)
        user.refresh_from_db()
        assert user.is_staff
        take()
        user.refresh_from_db()
        assert not user.is_staff
