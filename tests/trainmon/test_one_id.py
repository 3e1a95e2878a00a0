"""One id tells the whole story: what the site, the worker and a sync's child say of one request; and all logs are lines."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from http.cookiejar import CookieJar
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, Request, build_opener

import pytest

from runs import correlation
from tests.trainmon.machine import ROOT, environment, manage, wait_until
from tests.trainmon.test_up import Site, up

PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def site(shared_home, with_tables) -> Iterator[Site]:
    with_tables(shared_home)
    site = up(shared_home, shared_home.parent / "output", TRAINMON_ADMIN_PASSWORD=PASSWORD, TRAINMON_SYNC_INTERVAL="600",
              TRAINMON_CORRELATION_ID="of-the-shell")
    yield site
    site.process.send_signal(signal.SIGINT)
    assert site.process.wait(60) == 0, site.said()


def signed_in(site: Site):
    """An opener with a session, and the form token to send along."""
    opener = build_opener(HTTPCookieProcessor(jar := CookieJar()))

    def token() -> str:
        return next(cookie.value for cookie in jar if cookie.name == "csrftoken")

    opener.open(site.address + "login/", timeout=60).read()
    form = urlencode({"username": "admin", "password": PASSWORD, "csrfmiddlewaretoken": token()}).encode()
    opener.open(site.address + "login/", form, timeout=60).read()
    return opener, token


def lines(site: Site, name: str) -> list[dict]:
    return [json.loads(line) for line in (site.home / "log" / f"{name}.log").read_text().splitlines()]


def test_one_id_is_found_in_the_site_the_worker_and_the_syncs_child(site: Site):
    opener, token = signed_in(site)
    form = urlencode({"csrfmiddlewaretoken": token()}).encode()

    def told(name: str) -> dict[str, list[str]]:
        said = defaultdict(list)
        for line in lines(site, name):
            if line["correlation_id"] == "deploy-7":
                said[line.get("event", line["logger"])].append(line["message"])
        return said

    def synced() -> bool:
        # while the follower reads the source, nobody else does
        request = Request(site.address + "sources/1/sync/", form, {correlation.HEADER: "deploy-7"})
        assert opener.open(request, timeout=60).status == 200
        return wait_until(lambda: "source.synced" in told("worker"), 3)

    assert wait_until(synced), lines(site, "worker")
    assert any(message.startswith("POST /sources/1/sync/ 302") for message in told("web")["http.request"])
    assert wait_until(lambda: told("worker")["celery.app.trace"])
    assert re.match(r"Task runs.tasks.sync_source\[.*\] succeeded", told("worker")["celery.app.trace"][0])
    # said by the child that the worker had for it
    assert told("worker")["source.synced"][0].endswith("was synced")


def test_a_task_of_the_clock_has_an_id_of_its_own(site: Site):
    code = ("import django; django.setup(); from runs.tasks import sync_source; import trainmon.celery; "
            "[sync_source.apply_async([1]) for _ in range(2)]")
    env = environment(site.home, DJANGO_SETTINGS_MODULE="trainmon.settings")
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, check=True)

    def ended() -> list[str]:
        """Of each task's end; deploy-7 is what the test above has asked for."""
        said = [line["correlation_id"] for line in lines(site, "worker") if line["logger"] == "celery.app.trace"]
        return [one for one in said if one != "deploy-7"]

    assert wait_until(lambda: len(ended()) >= 2)
    assert len(set(ended())) == len(ended()) and "of-the-shell" not in ended()


def test_every_line_of_every_service_is_one_of_the_schema_from_its_start_to_its_end(site: Site):
    for words in (("celery", "worker"), ("celery", "beat"), ("trainmon.web",), ("sync_runs", "--watch")):
        child = site.child(*words)
        assert child
        child.terminate()
        assert wait_until(lambda: (now := site.child(*words)) is not None and now.pid != child.pid)  # noqa: B023
    assert wait_until(lambda: site.status() == 200)
    checked = manage(site.home, "validate_logs")
    assert checked.returncode == 0, checked.stdout
    services = {line["service"] for name in ("web", "worker", "beat", "follower") for line in lines(site, name)}
    assert services == {"web", "worker", "beat", "follower"}


def test_no_token_or_password_that_was_sent_is_in_a_log(site: Site):
    """P18."""
    opener, _ = signed_in(site)
    header = {"Authorization": "Bearer tmon_s3cr3tInHeader0123456789"}
    request = Request(site.address + "api/me/?token=s3cr3t-in-query", headers=header)
    with pytest.raises(OSError):
        opener.open(request, timeout=60)
    opener.open(site.address + "login/?next=/x?password=s3cr3t-nested", timeout=60).read()
    written = "".join(path.read_text(errors="replace") for path in (site.home / "log").iterdir())
    assert "api/me/" in written and "s3cr3t" not in written and PASSWORD not in written
