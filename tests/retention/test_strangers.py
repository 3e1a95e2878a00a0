"""cleanup --strangers: what lies in a trash that no cleanup knows, listed, brought back by name, deleted by name."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from retention import graves
from retention.models import Plan, Tombstone
from runs import volumes
from runs.models import AuditEntry, Run
from tests.retention.oldruns import content, run_at, source_at
from tests.retention.test_cleanup_command import asked, command
from tests.retention.test_cleanup_terminal import Terminal
from tests.retention.test_work_kill import killed

pytestmark = pytest.mark.django_db(transaction=True)


class Scene:
    """A run that was buried before the registry was set back to an older one; a trash that two sources share."""

    def __init__(self, folder: Path, settings: Any) -> None:
        settings.TRAINMON_VOLUMES = {str(folder): {"kind": "local"}}
        self.source, self.other = source_at(folder / "logs"), source_at(folder / "other", "router")
        self.trash, self.place = folder / ".trainmon-trash", folder / "logs" / "ds" / "run"
        self.run = run_at(self.source, "ds/run", sizes=(3000, 10))
        self.held = content(self.place)
        command("--select", "all", "--no-archive", "--yes")
        self.name = Tombstone.objects.get().grave
        Tombstone.objects.all().delete(), Plan.objects.all().delete()
        Run.objects.filter(pk=self.run.pk).update(lifecycle_stage="active", files_missing=True)

    def told(self, action: str) -> list[AuditEntry]:
        return list(AuditEntry.objects.filter(action=action))


@pytest.fixture
def scene(tmp_path: Path, settings: Any) -> Scene:
    return Scene(tmp_path, settings)


def strange(*words: str) -> tuple[int, str, str]:
    return command("--strangers", *words)


def test_they_are_listed_with_size_age_and_where_they_lay_and_what_a_cleanup_knows_is_not(scene):
    run_at(scene.source, "known"), command("--select", "all", "--no-archive", "--yes")
    (scene.trash / "by hand.tar").write_text("x" * 5), (scene.trash / "\udcff").mkdir(), (scene.trash / "restore-1").mkdir()
    before, known = sorted(os.listdir(scene.trash)), Tombstone.objects.get().grave
    code, out, err = strange()
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in out.splitlines()}
    assert (code, err) == (0, "") and known not in out and "'\\xff'" in lines
    assert re.search(r" 2\.9 KiB 2 \d.* ago can be brought back$", lines[scene.name])
    assert "no list says" in lines["'by"] and "left by a restore" in " ".join(out.split())
    assert sorted(os.listdir(scene.trash)) == before
    (told, *_) = asked("--strangers")["strangers"]
    assert (told["name"], told["path"], told["source"], told["size"]) == (scene.name, "ds/run", scene.source.pk, 3010)
    assert 0 <= told["age_seconds"] < 60 and [one["id"] for one in told["sources"]] == [scene.source.pk, scene.other.pk]
    assert strange("--delete", "'\\xff'", "--confirm", "'\\xff'")[0] == 1 and sorted(os.listdir(scene.trash)) == before


def test_one_comes_back_by_its_name_to_where_a_run_is_known_and_never_over_something(scene):
    scene.place.mkdir()
    assert strange("--restore", scene.name)[0] == 1 and not list(scene.place.iterdir())
    scene.place.rmdir(), commits(scene).clear()
    assert strange("--restore", scene.name, "--dry-run")[0] == 0 and not scene.place.exists()
    code, out, _ = strange("--restore", scene.name, "--why", "the database was set back")
    assert code == 0 and f"is back at {scene.place}" in out and content(scene.place) == scene.held
    (entry,) = scene.told("restore stranger")
    assert (entry.object_id, entry.why, entry.details["path"]) == (scene.source.pk, "the database was set back", "ds/run")
    assert len(commits(scene)) == 2 and os.listdir(scene.trash) == [".reserve"]
    assert strange()[1] == "Nothing lies in a trash that no cleanup knows.\n"


def test_where_nothing_tells_which_source_it_came_from_somebody_has_to(scene):
    Run.objects.all().delete()
    code, _, err = strange("--restore", scene.name)
    assert code == 2 and f"--source ID, of {scene.source.pk} ({scene.source.root}), {scene.other.pk}" in err
    assert asked("--strangers")["strangers"][0]["source"] is None and f"(source {scene.other.pk})" in strange()[1]
    assert strange("--restore", scene.name, "--source", str(scene.other.pk))[0] == 0
    assert content(Path(scene.other.root) / "ds/run") == scene.held


def test_one_is_deleted_only_by_its_typed_name_and_only_as_it_was_buried(scene):
    for words in ([], ["--yes"], ["--confirm", "yes"], ["--confirm", scene.name, "--restore", scene.name]):
        assert strange("--delete", scene.name, *words)[0] == 2
    assert command("--delete", scene.name, "--yes")[0] == 2
    late = scene.trash / scene.name / "late"
    late.write_text("x")
    code, _, err = strange("--delete", scene.name, "--confirm", scene.name)
    assert code == 1 and "changed since it was buried" in err and late.exists()
    late.unlink()
    told = asked("--strangers", "--delete", scene.name, "--confirm", scene.name)
    (entry,) = scene.told("purge stranger")
    assert told["freed"] == entry.details["freed"] > 3010 and os.listdir(scene.trash) == [".reserve"]


@pytest.mark.parametrize("words", [("--restore",), ("--delete", "--confirm")])
@pytest.mark.parametrize("deed", [(volumes, "commit"), (graves, "forget")])
def test_killed_after_the_deed_it_is_told_and_ended_by_asking_again(words, deed, scene):
    back = words == ("--restore",)
    said = ("cleanup", "--strangers", *(word for flag in words for word in (flag, scene.name)))
    assert killed(1, said, [deed]) and os.listdir(scene.trash) != [".reserve"]
    killed(-1, said)
    assert os.listdir(scene.trash) == [".reserve"] and content(scene.place) == (scene.held if back else {})
    assert {one.details["grave"] for one in scene.told(f"{'restore' if back else 'purge'} stranger")} == {scene.name}


def test_a_mere_yes_on_a_terminal_deletes_nothing(scene):
    terminal = Terminal("cleanup", "--strangers", "--delete", scene.name)
    assert "(2.9 KiB, 2 files) has no archive here" in terminal.until("Type its name to delete it for ever:")
    terminal.answer("yes")
    code, rest = terminal.end()
    assert (code, "Nothing was deleted." in rest) == (0, True) and content(scene.trash / scene.name) == scene.held


def commits(scene: Scene) -> list[AuditEntry]:
    return scene.told("commit volume")
