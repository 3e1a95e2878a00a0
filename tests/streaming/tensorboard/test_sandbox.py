"""What runs in a sandbox reaches nothing but what it is shown (P1), whoever has started it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from streaming.tensorboard.sandbox import LARGEST_FILE, REFUSED, STALE
from tests.streaming.tensorboard.boxes import AS_ROOT, ORDINARY, below, folder_of, open_box, until
from tests.streaming.tensorboard.refusing import refuse

USERS = [pytest.param(0, id="as root" if AS_ROOT else "as ourselves"),
         pytest.param(ORDINARY, id="as an ordinary user", marks=[] if AS_ROOT else pytest.mark.skip("not as root"))]
#: What an intruder would try; each line that works says so.
ATTEMPTS = """
touch /logs/new 2>/dev/null && echo wrote
(echo more >> /logs/run) 2>/dev/null && echo appended
rm -f /logs/run 2>/dev/null; test -e /logs/run || echo removed
mount -o remount,bind,rw /logs 2>/dev/null && echo remounted
umount /logs 2>/dev/null && echo unmounted
mount -t tmpfs none /mnt 2>/dev/null && echo mounted
unshare --user --map-root-user --mount sh -c 'mount -o remount,bind,rw /logs && echo remounted below' 2>/dev/null
for folder in / /usr /etc /dev; do touch $folder/new 2>/dev/null && echo wrote to $folder; done
mknod /tmp/disk b 254 0 2>/dev/null && echo made a device
kill -9 1 2>/dev/null
cat /proc/1/environ >/dev/null 2>&1 && echo read the environment
grep -E '^(NoNewPrivs|CapBnd|CapEff|CapPrm):' /proc/self/status
echo done
"""


@pytest.fixture(params=USERS)
def uid(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def folder(uid: int) -> Iterator[Path]:
    with folder_of(uid) as made:
        (made / "logs").mkdir()
        (made / "logs" / "run").write_text("events")
        os.chown(made / "logs", uid or os.geteuid(), -1)
        os.chown(made / "logs" / "run", uid or os.geteuid(), -1)
        yield made


def test_nothing_can_be_written_mounted_or_gained(uid, folder):
    box = open_box(folder, uid, ATTEMPTS)
    box.end()
    right = "0000000000000004" if AS_ROOT and uid == 0 else "0000000000000000"
    assert box.said().split() == ["CapPrm:", right, "CapEff:", right, "CapBnd:", right, "NoNewPrivs:", "1", "done"]
    assert (folder / "logs" / "run").read_text() == "events" and len(list((folder / "logs").iterdir())) == 1


def test_it_sees_its_logs_the_system_and_no_more(uid, folder):
    (folder / "secret_key").write_text("key")
    box = open_box(folder, uid, f"""
        cat /logs/run
        ls {folder}/secret_key /home /root /etc/shadow /var /sys 2>/dev/null
        ls /etc /proc | grep -v '^[a-z]*$' | tr '\\n' ' '""")
    box.end()
    assert box.said().startswith("events") and "secret" not in box.said() and "shadow" not in box.said()
    seen = {word for word in box.said().removeprefix("events").split() if word.isdigit()}
    assert seen and max(map(int, seen)) < 30  # its own processes only


def test_it_has_a_network_and_a_temporary_folder_of_its_own(uid, folder):
    box = open_box(folder, uid, """
        tail -n +3 /proc/net/dev | cut -d: -f1
        echo $TMPDIR; ls -A /tmp; touch /tmp/x && echo can write; env""")
    box.end()
    words = box.said().split()
    assert words[:5] == ["lo", "/tmp", "can", "write", *words[4:5]] and not (Path("/tmp") / "x").exists()
    assert "TRAINMON" not in box.said() and "PG" not in box.said()


@pytest.mark.skipif(not AS_ROOT, reason="only root reads what others keep for themselves")
def test_as_root_it_reads_logs_that_are_for_their_owners_only(folder):
    os.chown(folder / "logs" / "run", ORDINARY + 1, -1)
    (folder / "logs" / "run").chmod(0o600)
    box = open_box(folder, 0, "id -u; cat /logs/run")
    assert box.end() == 0 and box.said() == "65533\nevents"


def test_what_is_hidden_and_the_folder_of_removed_runs_are_empty(uid, folder):
    for name in ("var", ".trainmon-trash"):
        (folder / "logs" / name).mkdir()
        (folder / "logs" / name / "secret").write_text("s")
    box = open_box(folder, uid, "ls -A /logs /logs/var /logs/.trainmon-trash", hidden=[str(folder / "logs" / "var")])
    box.end()
    assert "secret" not in box.said() and "run" in box.said()


def test_a_source_that_is_not_there_is_an_empty_folder_and_the_others_are_shown(uid, folder):
    box = open_box(folder, uid, "ls -A /logs/here /logs/gone", logs={"here": str(folder / "logs"), "gone": str(folder / "none")})
    assert box.end() == 0
    assert "none cannot be shown" in box.said() and box.said().split()[-3:] == ["/logs/gone:", "/logs/here:", "run"]


def test_a_folder_of_removed_runs_that_appears_asks_for_another_sandbox(uid, folder):
    box = open_box(folder, uid, "echo here; sleep 60")
    assert until(lambda: "here" in box.said())
    (folder / "logs" / ".trainmon-trash").mkdir()
    assert box.end() == STALE


def test_all_of_it_ends_with_the_outer_process_and_by_a_polite_signal(uid, folder):
    for number in (signal.SIGKILL, signal.SIGTERM):
        box = open_box(folder, uid, "sleep 600 & sleep 600; echo over")
        assert until(lambda box=box: len(below(box.pid)) == 5), box.said()
        all_of_it = below(box.pid)
        os.kill(box.pid, number)
        box.end()
        _, alive = psutil.wait_procs(all_of_it[1:], timeout=30)
        assert alive == []


def test_what_it_says_does_not_fill_the_disk(uid, folder):
    box = open_box(folder, uid, "head -c 200000000 /dev/zero; echo over")
    box.end()
    assert box.output.stat().st_size == LARGEST_FILE


def test_the_socket_is_for_its_owner_only(uid, folder):
    box = open_box(folder, uid, "echo here; sleep 60")
    assert until(lambda: "here" in box.said())
    made = folder / "run" / "http.sock"
    assert made.stat().st_mode & 0o777 == 0o600 and (folder / "run").stat().st_mode & 0o777 == 0o700
    os.kill(box.pid, signal.SIGTERM)
    box.end()


def test_where_the_kernel_refuses_nothing_is_started(uid, folder):
    box = open_box(folder, uid, "echo started", before=refuse)
    assert box.end() == REFUSED
    assert "namespaces are refused" in box.said() and "started" not in box.said()
