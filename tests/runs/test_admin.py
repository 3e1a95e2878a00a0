"""The admin of trainers, sources, runs, jobs and log files."""

from __future__ import annotations

from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from runs.admin import visible
from runs.models import ApiToken, AuditEntry, Bookmark, Dataset, Job, Note, Run, SavedView, Source, Trainer
from tests.runs.conftest import signed_in
from tests.runs.factories import make_file, make_run, make_source, make_trainer, make_user
from trainmon.celery import app

if TYPE_CHECKING:
    from pytest_django import DjangoAssertNumQueries

pytestmark = pytest.mark.django_db
LISTS = ["trainer", "source", "run", "job", "logfile"]


@pytest.fixture
def client(bob: User) -> Client:
    return signed_in(bob)


@pytest.fixture
def run(source: Source) -> Run:
    run = make_run(source, name="qwen-r16", dataset="alpaca", path=b"caf\xe9", params={"lr": 0.1})
    make_file(run).__class__.objects.update(path=b"caf\xe9/events", damages=[{"offset": 7, "kind": "payload crc"}])
    Job.objects.create(source=source, run=run, external_id="job-7")
    return run


def act(client: Client, name: str, *sources: Source) -> str:
    form = {"action": name, "_selected_action": [source.pk for source in sources]}
    return client.post(reverse("admin:runs_source_changelist"), form, follow=True).content.decode()


def queued() -> list[list[int]]:
    """The arguments of what the site has put into the workers' queue; empties it."""
    found = []
    with app.connection_for_read() as broker, broker.SimpleQueue(app.conf.task_default_queue) as queue:
        while True:
            try:
                message = queue.get_nowait()
            except Empty:
                return found
            assert message.headers["task"] == "runs.tasks.sync_source"
            found.append(message.payload[0])
            message.ack()


def test_sync_now_asks_the_workers(client: Client, source: Source) -> None:
    off = make_source(source.trainer, enabled=False)
    queued()  # what tests of other files have asked of theirs
    page = act(client, "sync_now", source, off)
    assert queued() == [[source.pk]]
    assert "Asked for a sync of 1 source." in page
    assert "1 disabled, and so not synced." in page


def test_sync_now_does_not_reach_a_source_of_others(client: Client, source: Source) -> None:
    hidden = make_source(make_trainer("router", "team-router"))
    act(client, "sync_now", hidden)
    assert queued() == []


def test_the_loss_of_runs_is_confirmed_by_hand(client: Client, source: Source) -> None:
    page = act(client, "confirm_loss", source)
    source.refresh_from_db()
    assert source.loss_confirmed
    assert "Confirmed for 1 source" in page


def test_a_relative_root_is_refused_in_words(client: Client, lora: Trainer) -> None:
    form = {"trainer": lora.pk, "root": "logs/new", "layout": "auto", "enabled": "on"}
    page = client.post(reverse("admin:runs_source_add"), form)
    assert page.status_code == 200
    assert "is not an absolute path" in page.content.decode()
    assert not Source.objects.exists()


def test_saving_a_source_leaves_alone_what_a_sync_has_written_meanwhile(client: Client, source: Source) -> None:
    change = reverse("admin:runs_source_change", args=[source.pk])
    client.get(change)
    Source.objects.update(last_error="found by a sync", leased_by="worker-1")
    client.post(change, {"trainer": source.trainer_id, "root": source.root, "layout": "flat", "enabled": "on"})
    source.refresh_from_db()
    assert (source.layout, source.last_error, source.leased_by) == ("flat", "found by a sync", "worker-1")


def test_a_trainer_shows_its_sources_inline(client: Client, source: Source) -> None:
    page = client.get(reverse("admin:runs_trainer_change", args=[source.trainer_id])).content.decode()
    assert "/logs/lora" in page


@pytest.mark.parametrize("model", LISTS)
def test_every_list_can_be_searched_and_filtered(client: Client, run: Run, model: str) -> None:
    listed = reverse(f"admin:runs_{model}_changelist")
    assert client.get(f"{listed}?q=qwen").status_code == 200
    page = client.get(listed).content.decode()
    assert 'id="changelist-filter"' in page
    assert 'id="searchbar"' in page


@pytest.mark.parametrize("model", LISTS)
def test_every_row_can_be_opened(client: Client, run: Run, model: str) -> None:
    row = {"trainer": run.source.trainer_id, "source": run.source_id, "run": run.pk,
           "job": run.jobs.get().pk, "logfile": run.log_files.get().pk}[model]
    assert client.get(reverse(f"admin:runs_{model}_change", args=[row])).status_code == 200


def test_paths_that_are_not_utf8_are_shown_escaped(client: Client, run: Run) -> None:
    assert "caf\\xe9/events" in client.get(reverse("admin:runs_logfile_changelist")).content.decode()
    page = client.get(reverse("admin:runs_run_change", args=[run.pk])).content.decode()
    assert "/logs/lora/caf\\xe9" in page


@pytest.mark.parametrize("model", ["run", "job", "logfile"])
def test_facts_are_neither_added_nor_deleted_by_hand(ada: User, run: Run, model: str) -> None:
    client = signed_in(ada)
    row = {"run": run.pk, "job": run.jobs.get().pk, "logfile": run.log_files.get().pk}[model]
    assert client.get(reverse(f"admin:runs_{model}_add")).status_code == 403
    assert client.post(reverse(f"admin:runs_{model}_delete", args=[row]), {"post": "yes"}).status_code == 403
    many = {"action": "delete_selected", "_selected_action": [row], "post": "yes"}
    client.post(reverse(f"admin:runs_{model}_changelist"), many)
    assert Run.objects.filter(pk=run.pk, jobs__isnull=False, log_files__isnull=False).exists()


def test_what_a_log_says_cannot_be_changed(client: Client, run: Run) -> None:
    form = {"name": "renamed", "tags": "", "status": "failed", "step": "999", "lifecycle_stage": "purged"}
    client.post(reverse("admin:runs_run_change", args=[run.pk]), form)
    run.refresh_from_db()
    assert (run.name, run.status, run.step, run.lifecycle_stage) == ("renamed", "finished", None, "active")


def test_a_trainer_with_runs_is_not_deleted(ada: User, run: Run) -> None:
    signed_in(ada).post(reverse("admin:runs_trainer_delete", args=[run.source.trainer_id]), {"post": "yes"})
    assert Run.objects.filter(pk=run.pk).exists()


@pytest.mark.parametrize(("model", "queries"), [("trainer", 7), ("source", 6), ("run", 6), ("job", 6), ("logfile", 6)])
def test_a_list_costs_the_same_queries_whatever_its_length(
    client: Client, source: Source, model: str, queries: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """P20."""
    for number in range(30):
        run = make_run(make_source(make_trainer(f"t{number}")), dataset=f"d{number}")
        make_file(run)
        Job.objects.create(source=run.source, run=run, external_id=f"job-{number}")
    with django_assert_num_queries(queries):
        client.get(reverse(f"admin:runs_{model}_changelist"))


# what people do to many runs at once


def act_on_runs(client: Client, name: str, *runs: Run, tag: str = "") -> str:
    form = {"action": name, "_selected_action": [run.pk for run in runs], "tag": tag}
    return client.post(reverse("admin:runs_run_changelist"), form, follow=True).content.decode()


def test_runs_are_pinned_and_tagged_together_with_a_trail(client: Client, source: Source) -> None:
    runs = [make_run(source, name=f"r{number}") for number in range(3)]
    assert "Pinned 3 runs." in act_on_runs(client, "pin", *runs)
    assert "Tagged paper: 2 runs." in act_on_runs(client, "add_tag", *runs[:2], tag="paper")
    assert "Took away paper: 1 run." in act_on_runs(client, "remove_tag", runs[0], tag="paper")
    act_on_runs(client, "unpin", runs[2])
    kept = [(run.pinned, run.tags) for run in Run.objects.order_by("pk")]
    assert kept == [(True, []), (True, ["paper"]), (False, [])]
    assert AuditEntry.objects.filter(who="bob", action="pin").count() == 3


def test_a_tag_that_is_none_is_refused_in_words(client: Client, run: Run) -> None:
    assert "A tag has 1 to 100 characters" in act_on_runs(client, "add_tag", run, tag="")
    assert Run.objects.get().tags == []


def test_no_action_reaches_a_run_of_others(client: Client, run: Run) -> None:
    hidden = make_run(make_source(make_trainer("router", "team-router")))
    act_on_runs(client, "pin", hidden)
    act_on_runs(client, "add_tag", hidden, tag="mine")
    assert not Run.objects.filter(pinned=True).exists()
    assert Run.objects.get(pk=hidden.pk).tags == []


def test_who_may_only_look_gets_no_actions(run: Run) -> None:
    watcher = make_user("walter", "viewer", "team-lora", is_staff=True)
    User.objects.filter(pk=watcher.pk).update(is_staff=True)
    client = signed_in(watcher)
    assert "add_tag" not in client.get(reverse("admin:runs_run_changelist")).content.decode()
    act_on_runs(client, "pin", run)
    assert not Run.objects.get().pinned


def test_a_name_is_checked_and_redacted_as_on_the_page(client: Client, run: Run) -> None:
    change = reverse("admin:runs_run_change", args=[run.pk])
    answer = client.post(change, {"name": "two\x1blines", "tags": ""})
    assert "cannot hold the control character" in answer.content.decode()
    client.post(change, {"name": "try hf_abcdefghijklmnopqrstuvwxyzABCDEFGH", "tags": "a,b", "pinned": "on"})
    run.refresh_from_db()
    assert "abcdefgh" not in run.name
    assert (run.tags, run.pinned) == (["a", "b"], True)
    assert set(AuditEntry.objects.values_list("action", flat=True)) == {"rename", "set tags", "pin"}


# searching and counting


def test_runs_are_found_by_their_words(client: Client, run: Run) -> None:
    make_run(run.source, name="other")
    Note.objects.create(run=run, text="learning rate too high")
    for model in ("run", "job", "logfile", "note"):
        listed = reverse(f"admin:runs_{model}_changelist")
        assert run.name in client.get(f"{listed}?q=rate+qw").content.decode(), model
        assert run.name not in client.get(f"{listed}?q=nothing").content.decode(), model
        assert client.get(f"{listed}?q=%00--").status_code == 200


def test_a_long_list_is_not_counted_to_its_end(
    client: Client, source: Source, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    monkeypatch.setattr(visible, "COUNTED", 100)
    for number in range(120):
        make_run(source, name=f"r{number}")
    page = client.get(reverse("admin:runs_run_changelist")).content.decode()
    assert "more than 100 runs" in page
    assert client.get(f"{reverse('admin:runs_run_changelist')}?p=2").status_code == 200


# what people keep


def test_an_admin_sees_and_revokes_the_tokens_of_all_but_no_secret(ada: User, bob: User) -> None:
    token, secret = ApiToken.issue(bob, "of-bob")
    client, change = signed_in(ada), reverse("admin:runs_apitoken_change", args=[token.pk])
    for address in (reverse("admin:runs_apitoken_changelist"), change):
        page = client.get(address).content.decode()
        assert "of-bob" in page and secret not in page and token.digest not in page
    assert client.post(change, {"name": "mine"}).status_code == 403
    client.post(reverse("admin:runs_apitoken_changelist"),
                {"action": "delete_selected", "_selected_action": [token.pk], "post": "yes"})
    assert not ApiToken.objects.exists()
    entry = AuditEntry.objects.get(action="revoke token")
    assert (entry.who, entry.details["owner"]) == ("ada", "bob")


@pytest.mark.parametrize("model", ["apitoken", "auditentry", "savedview", "bookmark"])
def test_operators_do_not_look_at_what_others_keep(client: Client, model: str) -> None:
    assert client.get(reverse(f"admin:runs_{model}_changelist")).status_code == 403


def test_the_audit_trail_is_read_and_filtered_but_never_changed(ada: User, client: Client, run: Run) -> None:
    """P14."""
    act_on_runs(client, "pin", run)
    entry, reader = AuditEntry.objects.get(), signed_in(ada)
    listed = reverse("admin:runs_auditentry_changelist")
    assert run.name in reader.get(f"{listed}?action=pin&by=bob&q=qwen").content.decode()
    assert run.get_absolute_url() not in reader.get(f"{listed}?by=nobody").content.decode()
    change = reverse("admin:runs_auditentry_change", args=[entry.pk])
    assert reader.get(change).status_code == 200
    assert reader.post(change, {"who": "eve"}).status_code == 403
    assert reader.post(reverse("admin:runs_auditentry_delete", args=[entry.pk]), {"post": "yes"}).status_code == 403
    assert reader.get(reverse("admin:runs_auditentry_add")).status_code == 403


def test_an_admin_deletes_the_view_of_somebody_who_left(ada: User, bob: User) -> None:
    view = SavedView.objects.create(owner=bob, name="old", query="q=a")
    signed_in(ada).post(reverse("admin:runs_savedview_delete", args=[view.pk]), {"post": "yes"})
    assert not SavedView.objects.exists()
    assert AuditEntry.objects.get().details == {"owner": "bob", "query": "q=a"}


def test_notes_bookmarks_and_datasets_are_listed_by_who_may_see_them(
    client: Client, ada: User, alice: User, run: Run
) -> None:
    hidden = make_run(make_source(make_trainer("router", "team-router")), name="hidden-run", dataset="hidden-data")
    for one in (run, hidden):
        Note.objects.create(run=one, text=f"about {one.name}", author=alice)
        Bookmark.objects.create(run=one, owner=alice)
    for model in ("note", "dataset"):
        page = client.get(reverse(f"admin:runs_{model}_changelist")).content.decode()
        assert "hidden-" not in page and ("qwen-r16" in page or "alpaca" in page)
    assert "hidden-run" in signed_in(ada).get(reverse("admin:runs_bookmark_changelist")).content.decode()
    assert Dataset.objects.count() == 2


def test_a_stranger_who_adds_a_source_learns_of_no_other(lora: Trainer, tmp_path: Path) -> None:
    make_source(lora, root=str(tmp_path / "secret-root"))
    mine = make_trainer("mine", "team-mine")
    client = signed_in(make_user("dora", "operator", "team-mine"))
    for root in (tmp_path, tmp_path / "secret-root" / "below"):
        page = client.post("/admin/runs/source/add/", {"trainer": mine.pk, "root": root, "layout": "auto", "enabled": "on"})
        told = page.content.decode()
        assert "contain one another" in told
        assert "lora" not in told
        assert f"{tmp_path / 'secret-root'}" not in told.replace(f"{root}", "")


@pytest.mark.parametrize("row", ["", "x", "\0", "1e9", "²"])
def test_an_action_on_a_row_that_is_none_is_refused(client: Client, run: Run, row: str) -> None:
    answer = client.post("/admin/runs/run/", {"action": "pin", "_selected_action": [row], "index": 0})
    assert answer.status_code == 400


def test_the_filters_name_no_group_of_a_hidden_trainer(lora: Trainer) -> None:
    for number in (1, 2):
        make_trainer(f"mine-{number}", f"team-{number}")
    page = signed_in(make_user("dora", "operator", "team-1", "team-2")).get("/admin/runs/trainer/").content.decode()
    assert "team-1" in page
    assert "team-lora" not in page


def test_syncing_from_the_admin_leaves_a_trail(bob: User, lora: Trainer) -> None:
    source = make_source(lora)
    answer = signed_in(bob).post(
        reverse("admin:runs_source_changelist"), {"action": "sync_now", "_selected_action": [source.pk]}, follow=True)
    assert "Asked for a sync of 1 source." in answer.content.decode()
    assert list(AuditEntry.objects.values_list("action", "who")) == [("sync source", "bob")]
