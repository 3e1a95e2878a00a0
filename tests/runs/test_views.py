"""Saved views: a question kept under a name, one's own or shared."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from runs.models import AuditEntry, SavedView, Source, Trainer
from tests.runs.conftest import signed_in
from tests.runs.factories import make_run, make_source
from tests.runs.test_runs_page import links, names, text


@pytest.fixture
def source(lora: Trainer) -> Source:
    source = make_source(lora)
    make_run(source, name="good", status="finished")
    make_run(source, name="bad", status="failed", size=9 << 20)
    make_run(source, name="worse", status="failed", size=1 << 20)
    return source


@pytest.fixture
def client(alice: User, source: Source) -> Client:
    return signed_in(alice)


@pytest.fixture
def operator(bob: User, source: Source) -> Client:
    return signed_in(bob)


def saved(client: Client, **sent: Any) -> SavedView:
    """A view that was saved from the page."""
    answer = client.post(reverse("views"), {"name": "Failed", "query": "status=failed&sort=size", **sent})
    assert answer.status_code == 302
    return SavedView.objects.latest("id")


def shown(client: Client, view: SavedView, query: str = "") -> list[str]:
    return names(client, query, view.get_absolute_url())


def test_a_view_keeps_filter_order_and_columns_under_a_name(client: Client) -> None:
    view = saved(client, query="status=failed&sort=size&column=name&column=size")
    assert shown(client, view) == ["worse", "bad"]
    page = client.get(view.get_absolute_url()).content.decode()
    assert page.count("<th ") == 3  # the boxes, the name, the size
    assert 'aria-current="page" title="Failed">Failed</a>' in page


def test_the_list_offers_the_views_as_tabs(client: Client) -> None:
    view = saved(client)
    assert view.get_absolute_url() in links(client, reverse("runs"), "title=")


def test_what_is_stored_is_what_the_list_understands(client: Client) -> None:
    """Places, empty fields, unknown keys and what is usual anyway are left out; the order of keys is one."""
    view = saved(client, query="sort=-modified&q=&tag=a&junk=1&limit=7&status=failed&tag=b")
    assert view.query == "status=failed&tag=a&tag=b"


@pytest.mark.parametrize("query", ["metric=loss", "trainer=nobody", "sort=password", "q=%00", "status=failed&param=lr~1"])
def test_a_question_that_cannot_be_asked_is_not_saved(client: Client, query: str) -> None:
    answer = client.post(reverse("views"), {"name": "x", "query": query})
    assert answer.status_code == 400
    assert not SavedView.objects.exists()


@pytest.mark.parametrize("name", ["", " ", "x" * 101, "\0"])
def test_a_name_is_one_to_a_hundred_characters(client: Client, name: str) -> None:
    answer = client.post(reverse("views"), {"name": name, "query": "status=failed"})
    assert answer.status_code == 400
    assert 'class="field-error" role="alert"' in answer.content.decode()


def test_two_views_of_one_user_have_two_names(client: Client, operator: Client) -> None:
    saved(client)
    answer = client.post(reverse("views"), {"name": "Failed", "query": "status=killed"})
    assert answer.status_code == 400
    assert "You have a view of this name" in answer.content.decode()
    assert "status is killed" in answer.content.decode()  # nothing is lost
    saved(operator)  # somebody else's may be called the same


def test_a_changed_view_says_so_and_can_be_saved_or_left(client: Client) -> None:
    view = saved(client)
    assert "changed" not in text(client, view.get_absolute_url())
    changed = view.get_absolute_url() + "?status=failed&sort=-size"
    assert "changed Save Discard" in text(client, changed)
    assert names(client, "status=failed&sort=-size", view.get_absolute_url()) == ["bad", "worse"]
    client.post(reverse("change-view", args=[view.pk]), {"query": "status=failed&sort=-size"})
    assert shown(client, view) == ["bad", "worse"]
    assert "changed" not in text(client, view.get_absolute_url())


def test_the_last_filter_of_a_view_can_be_removed(client: Client) -> None:
    """An address without a question asks the view's own: the cross must not bring the filter back."""
    view = saved(client, query="status=failed")
    [cross] = links(client, view.get_absolute_url(), "Remove the filter")
    assert set(names(client, cross.partition("?")[2], view.get_absolute_url())) == {"good", "bad", "worse"}
    assert "changed" in text(client, cross)


def test_links_of_a_view_stay_in_it(client: Client) -> None:
    view = saved(client)
    page = client.get(view.get_absolute_url()).content.decode()
    headings = re.findall(r'<th [^>]*><a href="([^"]+)"', page)
    assert len(headings) == 11
    assert all(href.startswith(view.get_absolute_url()) for href in headings)


def test_a_view_is_renamed_and_deleted_by_its_owner(client: Client) -> None:
    view = saved(client)
    client.post(reverse("change-view", args=[view.pk]), {"name": "  Broken\n runs "})
    view.refresh_from_db()
    assert (view.name, view.query) == ("Broken runs", "status=failed&sort=size")
    answer = client.post(reverse("delete-view", args=[view.pk]), follow=True)
    assert "Deleted the view “Broken runs”. Its runs are still here." in answer.content.decode()
    assert not SavedView.objects.exists()


def test_somebody_elses_private_view_does_not_exist(client: Client, operator: Client) -> None:
    view = saved(operator)
    for path in (view.get_absolute_url(), "/runs/views/999999/"):
        assert client.get(path).status_code == 404
    for name in ("change-view", "delete-view"):
        assert client.post(reverse(name, args=[view.pk]), {"name": "mine"}).status_code == 404
    assert "Failed" not in [one for one in text(client, reverse("runs")).split() if one == "Failed"]


def test_a_shared_view_is_seen_by_all_and_changed_by_its_owner(client: Client, operator: Client) -> None:
    view = saved(operator, shared="on")
    assert shown(client, view) == ["worse", "bad"]
    assert "Edit view" not in text(client, view.get_absolute_url())
    for name in ("change-view", "delete-view"):
        assert client.post(reverse(name, args=[view.pk]), {"name": "mine"}).status_code == 403
    view.refresh_from_db()
    assert view.name == "Failed"


def test_a_viewer_may_not_share(client: Client) -> None:
    assert client.post(reverse("views"), {"name": "x", "query": "status=failed", "shared": "on"}).status_code == 403
    view = saved(client)
    assert client.post(reverse("change-view", args=[view.pk]), {"sharing": "1", "shared": "on"}).status_code == 403
    view.refresh_from_db()
    assert not view.shared


def test_one_who_is_no_operator_any_more_leaves_what_was_shared(client: Client, alice: User) -> None:
    view = saved(client)
    SavedView.objects.update(shared=True)
    assert client.post(reverse("change-view", args=[view.pk]), {"query": "status=killed"}).status_code == 403
    assert client.post(reverse("delete-view", args=[view.pk])).status_code == 403


def test_sharing_and_what_is_shared_leave_a_trail(operator: Client) -> None:
    """P14."""
    view = saved(operator)
    operator.post(reverse("change-view", args=[view.pk]), {"sharing": "1", "shared": "on"})
    operator.post(reverse("change-view", args=[view.pk]), {"name": "All that failed"})
    operator.post(reverse("change-view", args=[view.pk]), {"sharing": "1"})
    deeds = AuditEntry.objects.order_by("id").values_list("who", "action", "object_id")
    assert list(deeds) == [("bob", deed, view.pk) for deed in ("share view", "change view", "unshare view")]


def test_through_a_shared_view_everybody_sees_only_what_they_may(operator: Client, charlie: User) -> None:
    """Attacks, 'Access'."""
    view = saved(operator, shared="on")
    assert shown(signed_in(charlie), view) == []


def test_a_secret_in_a_name_is_masked(client: Client) -> None:
    """P18."""
    view = saved(client, name="token=hf_abcdefghijklmnopqrstuvwxyz0123456789")
    assert "abcdefghijklmnop" not in view.name


def test_a_link_saves_and_deletes_nothing(client: Client) -> None:
    view = saved(client)
    assert client.get(reverse("views"))["Location"] == reverse("runs")
    assert client.get(reverse("delete-view", args=[view.pk])).status_code == 405


def test_a_hundred_views_are_enough(client: Client, alice: User) -> None:
    SavedView.objects.bulk_create(SavedView(owner=alice, name=str(number)) for number in range(100))
    answer = client.post(reverse("views"), {"name": "one more", "query": ""})
    assert answer.status_code == 400
    assert "delete one first" in answer.content.decode()


def test_a_shared_view_tells_strangers_of_nothing_hidden(source: Source, bob: User, alice: User, charlie: User) -> None:
    run = make_run(source, dataset="secret-data")
    queries = ("trainer=lora", f"dataset={run.dataset_id}", f"status=failed&run={run.pk}", "status=failed")
    views = [SavedView.objects.create(owner=bob, name=f"view {query}", query=query, shared=True) for query in queries]
    for user, seen in ((alice, [True] * 4), (charlie, [False, False, False, True])):
        client = signed_in(user)
        page = client.get(reverse("runs")).content.decode()
        assert [f'href="{view.get_absolute_url()}"' in page for view in views] == seen
        assert [client.get(view.get_absolute_url()).status_code == 200 for view in views] == seen
        assert [client.post(reverse("delete-view", args=[view.pk])).status_code for view in views] == [
            403 if known else 404 for known in seen]
