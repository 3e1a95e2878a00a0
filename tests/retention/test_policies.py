"""Policies on real files: what goes by itself, in whose name, and what never does."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as ours
from django.utils.timezone import now

import trainmon.celery  # noqa: F401  what is ordered goes to our broker
from retention import backoff, fullness, plan, policies, tasks
from retention.models import Plan, PlannedRun, RetentionPolicy, Tombstone
from retention.space import Space, Volumes
from runs.models import AuditEntry, Bookmark, Dataset, Run, Source
from tests.retention.oldruns import content, run_at, source_at
from tests.retention.test_cleanup_command import command, stages
from tests.runs.factories import make_points, make_user

pytestmark = pytest.mark.django_db


def policy(source: Source, **rule: Any) -> RetentionPolicy:
    about = {"trainer": source.trainer} if "dataset" not in rule else {}
    return RetentionPolicy.objects.create(name=rule.pop("name", "tidy"), **{"enabled": True, **about, **rule})


def an_hour_passes() -> list[str]:
    """The clock's task, then the janitor's for what was ordered."""
    told = tasks.apply_policies()
    for made in Plan.objects.filter(state=Plan.State.CONFIRMED):
        tasks.carry_out(made.pk)
    return told


def days(count: float) -> timedelta:
    return timedelta(days=count)


def test_runs_older_than_thirty_days_go_by_the_clock_and_it_is_audited(source):
    """CH-59: off by default; then what is due goes to the trash in the policy's name."""
    run_at(source, "old", days=31, sizes=(2048,)), run_at(source, "young", days=29)
    before = content(Path(source.root))
    off = RetentionPolicy.objects.create(name="tidy", trainer=source.trainer, max_age=days(30))
    assert an_hour_passes() == [] and content(Path(source.root)) == before and not Plan.objects.exists()
    RetentionPolicy.objects.filter(pk=off.pk).update(enabled=True)
    assert an_hour_passes() == ["1 run (2.0 KiB) on the way to the trash"]
    assert stages() == {"old": "buried", "young": "active"}
    assert content(Path(source.root)) == {path: what for path, what in before.items() if path.startswith("young")}
    told = AuditEntry.objects.order_by("pk").values_list("action", "who", "user")
    assert list(told) == [(action, "policy tidy", None) for action in (
        "confirm cleanup", "archive run", "bury run", "finish cleanup")]
    made = Plan.objects.get()
    assert (made.policy, made.origin, made.state, made.archive) == (off, "policy", "done", True)
    assert an_hour_passes() == ["nothing to do"] and Plan.objects.count() == 1


def test_each_dataset_has_its_policy_and_others_are_kept(source):
    """CH-60."""
    for name in ("a", "b"):
        dataset = Dataset.objects.create(trainer=source.trainer, name=name)
        run_at(source, f"{name}/old", days=40, dataset=dataset.name), run_at(source, f"{name}/new", days=5, dataset=name)
    before = content(Path(source.root) / "b")
    policy(source, dataset=Dataset.objects.get(name="a"), max_age=days(10), archive=False)
    an_hour_passes()
    gone = Run.objects.filter(lifecycle_stage="buried").values_list("dataset__name", "name")
    assert list(gone) == [("a", "old")] and content(Path(source.root) / "b") == before


def test_the_clock_applies_policies_each_hour_in_the_queue_of_the_janitor():
    entry = ours.CELERY_BEAT_SCHEDULE["policies"]
    assert entry["task"] == tasks.apply_policies.name and entry["options"] == {"expires": 3600, "queue": "janitor"}
    assert timedelta(seconds=entry["schedule"]) == policies.EVERY


def test_what_protects_a_run_protects_it_from_policies_unless_they_take_pinned_ones(source):
    for name, fact in {"pinned": {"pinned": True}, "running": {"status": "running"}, "marked": {}, "a/b": {}, "a": {}}.items():
        run_at(source, name, **fact) if name != "a" else None
    Bookmark.objects.create(run=Run.objects.get(name="marked"), owner=make_user("erin", "viewer"))
    tidy = policy(source, max_age=days(1))
    told = {row.name: why for row, why in policies.evaluate(tidy, now()).staying}
    assert told == {"pinned": "is pinned", "running": "is running", "marked": "is bookmarked"}
    tidy.keep_pinned = False
    assert {row.name for row, _ in policies.evaluate(tidy, now()).going} == {"pinned", "marked", "b"}
    assert policies.options(tidy).forced


def test_the_best_are_looked_up_by_the_metric_and_one_that_nobody_has_is_refused(source):
    run_at(source, "z")
    for name, losses in {"x": [3.0, 0.1], "y": [0.05, 2.0]}.items():
        make_points(run_at(source, name), "eval/loss", losses)
    best = policy(source, keep_best=1, metric="eval/loss")
    assert [row.name for row, _ in policies.evaluate(best, now()).going] == ["z", "y"]
    best.metric_of = "min"
    assert [row.name for row, _ in policies.evaluate(best, now()).going] == ["z", "x"]
    best.metric = "eval/lost"
    assert policies.evaluate(best, now()).refused == "no run of lora has the metric eval/lost"


def test_a_policy_about_everything_refuses_and_says_so_once(source):
    """P10."""
    run_at(source, "a", days=900)
    policy(source, trainer=None, max_age=days(1))
    told = an_hour_passes() + an_hour_passes()
    assert stages() == {"a": "active"} and "neither a trainer nor a dataset" in told[0] and told[0] == told[1]
    assert list(AuditEntry.objects.values_list("action", "who")) == [("refuse policy", "policy tidy")]
    assert RetentionPolicy.objects.get().outcome == told[0]


def test_the_guard_counts_the_bytes_of_the_disk_too(source):
    """P10: the registry may be behind."""
    run_at(source, "a", sizes=(9000,), size=10)
    policy(source, max_age=days(1), most_bytes=8000)
    assert an_hour_passes() == ["refused: 8.8 KiB would go, and its guard lets at most 7.8 KiB go at once"]
    assert stages() == {"a": "active"}


def test_runs_of_another_cleanup_and_those_just_restored_are_left_alone(source):
    one = run_at(source, "a", days=40)
    tidy = policy(source, max_age=days(1), archive=False)
    draft = policies.due(tidy, now()).draft
    made = plan.confirm(draft, plan.Author("bob", "web"), draft.token)
    evaluated = policies.evaluate(tidy, now())
    assert [why for _, why in evaluated.staying] == [f"is in cleanup {made.pk} already"] and not evaluated.going
    tasks.carry_out(made.pk)
    assert command(str(one.pk), name="restore")[0] == 0
    assert "was restored" in policies.evaluate(tidy, now()).staying[0][1]
    Tombstone.objects.update(restored_at=now() - days(8))
    assert policies.evaluate(tidy, now()).going


def test_a_run_that_could_not_be_archived_is_tried_again_after_an_hour_two_four_at_most_a_day(source, settings):
    """And nobody goes in its place; a cleanup that somebody orders does not wait."""
    old, places = run_at(source, "old", days=40, sizes=(1000,)), settings.TRAINMON_ARCHIVE
    run_at(source, "young", days=5, sizes=(1000,))
    tidy = policy(source, ceiling=1500)
    settings.TRAINMON_ARCHIVE = f"{places}/{'long' * 99}"  # which is seen by whoever makes it
    for hours in (1, 2, 4, 8, 16, 24, 24):
        an_hour_passes()
        failed = PlannedRun.objects.filter(step="failed")
        last = failed.latest("pk").changed
        for late, waits in ((hours - 0.5, True), (hours - 0.1, False)):
            evaluated = policies.evaluate(tidy, last + timedelta(hours=late))
            assert (not evaluated.going) == waits and "young" not in [row.name for row, _ in evaluated.going]
        failed.update(changed=now() - timedelta(hours=hours))
    assert "failed 7 times, the last 23 h 00 m ago (was not archived" in backoff.waiting(
        Run.objects.all(), now() - timedelta(hours=1))[old.pk]
    settings.TRAINMON_ARCHIVE = places
    an_hour_passes()
    assert stages() == {"old": "buried", "young": "active"}


def test_over_the_ceiling_of_a_volume_the_oldest_go_once_though_the_trash_still_fills_it(source, tmp_path, monkeypatch):
    for name, days_old in {"old": 40, "young": 5}.items():
        run_at(source, name, days=days_old, sizes=(1000,))
    others = run_at(source_at(tmp_path / "others", "router"), "theirs", days=90, sizes=(1000,))
    answers = {source.root: 10_000, others.source.root: 10_000}
    monkeypatch.setattr(fullness, "volumes", Volumes(lambda root: Space(1, "/", 20_000, answers[root], 0)))
    tidy = policy(source, ceiling=9_500, ceiling_of="volume")
    assert [row.name for row, _ in policies.evaluate(tidy, now(), {others.pk}).going] == []  # another policy makes room
    assert an_hour_passes() == ["1 run (1000 B) on the way to the trash"]
    assert an_hour_passes() == ["nothing to do"] and stages() == {"old": "buried", "young": "active", "theirs": "active"}
    assert "less what leaves it already, is under 9.3 KiB" in policies.evaluate(tidy, now()).staying[0][1]

    def silent(root: str) -> Space:
        raise OSError("Stale file handle")

    monkeypatch.setattr(fullness, "volumes", Volumes(silent))
    assert policies.evaluate(tidy, now()).staying[0][1] == "how full its volume is is not known"


# manage.py prune


def test_a_dry_run_of_prune_tells_what_the_real_one_does(source):
    """CH-48: two policies, no run by both; the real run has the list of the dry one."""
    for number in range(4):
        run_at(source, f"r{number}", days=10 + number)
    policy(source, name="a", keep_last=3, archive=False), policy(source, name="b", keep_last=2, archive=False)
    policy(source, name="off", max_age=days(1), enabled=False)
    before = content(Path(source.root))
    dry = json.loads(command("--dry-run", "--json", name="prune")[1])
    assert [[row["name"] for row in one["going"]] for one in dry["policies"]] == [["r3"], ["r2"]]
    assert content(Path(source.root)) == before and not Plan.objects.exists() and not AuditEntry.objects.exists()
    code, out, err = command("--yes", name="prune")
    assert (code, err) == (0, "") and "a: 1 run (320 B) to the trash" in out and "because" in out
    assert stages() == {"r0": "active", "r1": "active", "r2": "buried", "r3": "buried"}
    told = AuditEntry.objects.get(action="confirm cleanup", who="policy b")
    assert "prune by" in told.why and told.details["origin"] == "console"


def test_prune_ends_with_words_and_a_code(source):
    """Exit codes as cleanup's: 2 for bad arguments or nobody to ask, 1 where a policy refused."""
    assert command(name="prune")[:2] == (0, "No policy is switched on: nothing to do.\n")
    run_at(source, "a"), policy(source, max_age=days(1), most_runs=0), policy(source, name="off", enabled=False, keep_last=0)
    assert command("--policy", "x[red]", name="prune") == (2, "", "There is no policy x[red]; there are: off, tidy.")
    assert command("--policy", "off", "--yes", name="prune")[0] == 2
    code, out, _ = command("--policy", "off", "--dry-run", name="prune")
    assert code == 0 and "(switched off)" in out and "It refuses to run: keep last 0 keeps nothing" in out
    code, _, err = command("--yes", name="prune")
    assert code == 1 and "tidy: refused: 1 run would go, and its guard lets at most 0 go at once" in err
    RetentionPolicy.objects.filter(name="tidy").update(most_runs=1)
    code, _, err = command(name="prune")
    assert code == 2 and "--yes" in err and stages() == {"a": "active"}
