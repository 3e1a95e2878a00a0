"""cleanup --declare-lost: a volume that is gone for good ends what waits for it, and nothing that a volume knows is lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from django.utils.timezone import now

from retention import losses, plan
from retention.candidates import candidates
from retention.models import Plan, PlannedRun, Tombstone
from runs.models import AuditEntry, Run, Source
from tests.retention.oldruns import content, run_at
from tests.retention.test_cleanup_command import asked, command
from tests.runs.conftest import signed_in

pytestmark = pytest.mark.django_db
TRASH = ".trainmon-trash"


def confirmed(run: Run) -> Plan:
    """A plan that nobody has begun."""
    made = plan.draft([(candidates(Run.objects.filter(pk=run.pk))[0], "old")], plan.Options(archive=False), now())
    return plan.confirm(made, plan.Author("otto", "console"), made.token)


def stands(run: Run) -> tuple[str, bool]:
    return Run.objects.values_list("lifecycle_stage", "files_missing").get(pk=run.pk)


def test_a_volume_that_is_gone_ends_what_waits_for_it_and_archives_bring_back_what_they_hold(source, monkeypatch):
    root = Path(source.root)
    kept, bare, open_, idle = (run_at(source, name) for name in "abcd")
    held = content(root / "a")
    command("--select", "0", "--yes"), command("--select", "0", "--no-archive", "--yes")
    code, _, err = command("--declare-lost", str(source.pk), "--confirm", "x")
    assert code == 1 and "a lies in the trash: restore or purge it; it is not lost" in err
    open_plan = confirmed(open_)
    PlannedRun.objects.filter(run=open_).update(step="burying")  # whoever moved it was killed
    for name in ("logs", TRASH):
        (root.parent / name).rename(root.parent / f"{name}-away")
    assert command("--resume")[0] == 1 and PlannedRun.objects.get(run=open_).step == "burying"
    assert command("--declare-lost", source.root, "--yes")[0] == command("--declare-lost", "99")[0] == 2
    told = asked("--declare-lost", source.root, "--dry-run")
    assert [one["id"] for one in told["lost"]] == [kept.pk, bare.pk] and told["missing"] == [open_.pk, idle.pk]
    assert told["failed"] == [{"id": open_.pk, "plan": open_plan.pk, "step": "burying"}] and "No such file" in told["away"]
    token = told["token"]

    lose = losses._lose
    monkeypatch.setattr(losses, "_lose", lambda tomb, *more: lose(tomb, *more) if tomb.run == kept else 1 / 0)
    with pytest.raises(ZeroDivisionError):  # cut off: nothing was done
        command("--declare-lost", source.root, "--confirm", token)
    monkeypatch.undo()
    assert asked("--declare-lost", source.root, "--dry-run")["token"] == token
    code, out, _ = command("--declare-lost", source.root, "--confirm", token, "--why", "the disk died")
    assert code == 0 and "restore brings back 1 run from the archive" in out
    assert (stands(kept), stands(bare), stands(open_)) == (("lost", False), ("lost", False), ("active", True))
    assert list(Tombstone.objects.order_by("pk").values_list("planned__step", "freed", "purged_at")) == [("lost", None, None)] * 2
    ended = PlannedRun.objects.get(run=open_)
    assert (ended.step, ended.plan.state) == ("failed", "done") and "was declared lost by" in ended.error
    assert AuditEntry.objects.filter(action="lose run", why="the disk died").count() == 2
    assert AuditEntry.objects.get(action="declare volume lost").object_id == source.pk
    assert command("--declare-lost", source.root, "--confirm", token)[1].endswith("Nothing waits for it.\n")
    assert "0 runs were purged, 0 stay" in command("--purge")[1]

    root.mkdir()
    assert command(str(kept.pk), name="restore")[1] == "a is back, from the archive.\n" and content(root / "a") == held
    assert "where that is back: cleanup --strangers" in command(str(bare.pk), name="restore")[2]
    assert (stands(kept), stands(bare)) == (("active", False), ("lost", False))
    shutil.rmtree(root.parent / TRASH)
    (root.parent / f"{TRASH}-away").rename(root.parent / TRASH)
    assert f"run-{bare.pk}-plan" in command("--strangers")[1]


def test_a_grave_beside_a_root_that_is_gone_is_not_lost(source):
    run_at(source, "a"), run_at(source, "b")
    command("--select", "0", "--no-archive", "--yes")
    Path(source.root).rename(Path(source.root).parent / "renamed")
    told = asked("--declare-lost", source.root, "--dry-run")
    assert (told["lost"], [one["reason"] for one in told["staying"]]) == ([], ["lies in the trash"])
    assert len(told["missing"]) == 1


def test_an_admin_declares_it_on_a_page_by_its_typed_root_and_nobody_else_does(source, ada, bob):
    run = run_at(source, "a")
    command("--select", "0", "--no-archive", "--yes")
    shutil.rmtree(source.root), shutil.rmtree(Path(source.root).parent / TRASH)
    Source.objects.update(last_error="gone")
    where, client, others = f"/storage/lost/{source.pk}/", signed_in(ada), signed_in(bob)
    for page in (source.get_absolute_url(), f"/admin/runs/source/{source.pk}/change/"):
        assert where in client.get(page).content.decode() and where not in others.get(page).content.decode()
    assert others.post(where).status_code == 403
    token = asked("--declare-lost", source.root, "--dry-run")["token"]
    assert f'value="{token}"' in client.get(where).content.decode()
    right = {"token": token, "typed": source.root, "why": "it died"}
    for wrong, status in (({"typed": "yes"}, 400), ({"token": ""}, 400), ({"token": "0" * 64}, 409)):
        assert client.post(where, right | wrong).status_code == status
    assert stands(run) == ("buried", False)
    assert client.post(where, right).status_code == 302 and stands(run) == ("lost", False)
    entry = AuditEntry.objects.get(action="lose run")
    assert (entry.who, entry.why, entry.address) == ("ada", "it died", "127.0.0.1")
    assert client.post(where, right).status_code == 409 and "Nothing waits" in client.get(where).content.decode()
