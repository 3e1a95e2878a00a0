"""Live pages with nothing left out: a real writer, the follower, Valkey, daphne and Chromium."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.conf import settings
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from runs.models import Run
from tests.browser.conftest import wait_for
from tests.browser.test_pages import signed_in
from tests.runs.factories import make_source, make_trainer, make_user
from tests.runs.processes import ROOT, environment
from tests.streaming.sites import until, valkey_running

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

#: Milliseconds that a change may take to be seen on a busy machine.
SOON = 90_000
#: Seconds between two syncs that the site expects: data older than twice that is stale.
INTERVAL = 8


class Trained:
    """A run as its trainer writes it."""

    def __init__(self, folder: Path) -> None:
        self.writer, self.step = EventFileWriter(str(folder)), 0

    def log(self, steps: int, tag: str = "loss", first: float = 3.0) -> None:
        for _ in range(steps):
            self._add(Summary.Value(tag=tag, simple_value=first / (1 + self.step)))
            self.step += 1
        self.writer.flush()

    def draw(self) -> None:
        """An image of one pixel."""
        self._add(Summary.Value(tag="sample", image=Summary.Image(height=1, width=1, colorspace=3, encoded_image_string=PIXEL)))
        self.writer.flush()

    def _add(self, value: Summary.Value) -> None:
        self.writer.add_event(Event(wall_time=time.time(), step=self.step, summary=Summary(value=[value])))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


PIXEL = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)) + _chunk(
    b"IDAT", zlib.compress(b"\0\1\2\3")) + _chunk(b"IEND", b"")  # fmt: skip


class World:
    """The trainer's folder, and the processes that bring it to a browser: a site for all tests, a follower for each."""

    def __init__(self, home: Path, redis: str) -> None:
        self.home, self.root = home, home
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        given = {"TRAINMON_SECRET_KEY": settings.SECRET_KEY, "REDIS_URL": redis, "TRAINMON_SYNC_INTERVAL": str(INTERVAL)}
        self.env = environment(TRAINMON_HOME=str(home / "home"), **given)
        self.site, self.follower = self.serve(), None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def serve(self) -> subprocess.Popen[bytes]:
        self.site = self._start("-m", "daphne", "-b", "127.0.0.1", "-p", str(self.port), "trainmon.asgi:application")
        wait_for(self.port, self.site)
        return self.site

    def follow(self) -> subprocess.Popen[bytes]:
        self.follower = self._start("manage.py", "sync_runs", "--watch")
        return self.follower

    def _start(self, *words: str) -> subprocess.Popen[bytes]:
        with (self.home / "processes.log").open("ab") as log:
            return subprocess.Popen([sys.executable, *words], cwd=ROOT, env=self.env, stdout=log, stderr=log)

    def train(self, name: str) -> Trained:
        return Trained(self.root / name)


@pytest.fixture(scope="module")
def served(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A site with a bus, for all tests of this file; one that was killed was started anew."""
    with valkey_running(tmp_path_factory.mktemp("bus")) as bus:
        made = World(tmp_path_factory.mktemp("world"), bus)
        yield made
        made.site.kill()
        made.site.wait(10)


@pytest.fixture
def world(transactional_db: None, tmp_path: Path, served: World) -> Iterator[World]:
    """An empty folder, followed and served."""
    make_user("alice", "viewer")
    served.root = tmp_path / "logs"
    served.root.mkdir()
    make_source(make_trainer("lora"), root=str(served.root), status="new", last_synced=None)
    follower = served.follow()
    try:
        yield served
    finally:
        for process in {follower, served.follower}:
            process.kill()
            process.wait(10)


@pytest.fixture
def first(world: World) -> Trained:
    """A run of ten steps that has been read."""
    run = world.train("first")
    run.log(10)
    until(lambda: Run.objects.filter(name="first", point_count=10).exists(), 120)
    return run


@pytest.fixture
def site(world: World, first: Trained) -> str:
    """The address of the site, once the run of the test is there."""
    return world.url


def opened(chromium: Browser, world: World, path: str = "/runs/") -> Page:
    """A page that is connected, marked so that a reload would be seen."""
    page, complaints = signed_in(chromium, world.url, 1440)
    page.complaints = complaints  # type: ignore[attr-defined]
    if path == "/run/":
        path = page.get_attribute("td.c-name a", "href") or ""
    page.goto(world.url + path)
    page.wait_for_selector("#connection[data-state=live]", timeout=SOON)
    page.evaluate("window.here = true")
    return page


def seen(page: Page, selector: str, text: str) -> None:
    """The text comes, soon."""
    page.wait_for_function(
        "([where, said]) => document.querySelector(where)?.textContent.includes(said)", arg=[selector, text], timeout=SOON)


def same_page(page: Page) -> bool:
    """Nobody loaded it anew, and its console is silent."""
    return bool(page.evaluate("window.here")) and page.complaints == []  # type: ignore[attr-defined]


def reading(page: Page) -> str:
    """What the chart has at its right end."""
    page.focus(".chart-card .area")
    page.keyboard.press("End")
    return page.inner_text(".chart-card .chart-tip")


def test_a_row_moves_and_what_is_chosen_and_focused_stays(chromium: Browser, world: World, first: Trained) -> None:
    page = opened(chromium, world)
    page.keyboard.press("j")
    page.keyboard.press("x")
    curve = page.get_attribute(".runs td .spark path", "d")
    page.evaluate("document.querySelector('.runs tbody tr').mark = 7")
    first.log(5)
    seen(page, ".runs td.c-step", "14")
    seen(page, ".runs td.c-metric b", "0.2000")
    seen(page, ".sums", "15 points")
    assert page.get_attribute(".runs td .spark path", "d") != curve
    assert page.evaluate("document.activeElement.textContent") == "first"
    assert page.is_checked(".runs td.c-pick input") and page.is_visible("#selection")
    assert page.evaluate("document.querySelector('.runs tbody tr').mark") == 7
    assert same_page(page)


def test_a_new_run_waits_until_one_asks_for_it(chromium: Browser, world: World, first: Trained) -> None:
    page = opened(chromium, world)
    page.check(".runs td.c-pick input")
    world.train("second").log(3)
    page.wait_for_selector("#moved:visible", timeout=SOON)
    assert page.inner_text("#moved").startswith("1 new")
    assert page.locator(".runs tbody tr").count() == 1
    page.click("#moved")
    page.wait_for_function("() => document.querySelectorAll('.runs tbody tr').length === 2")
    assert page.is_hidden("#moved")
    assert page.locator(".runs tr.chosen td.c-name a").inner_text() == "first"
    assert same_page(page)


def test_the_page_of_a_run_moves_and_its_chart_grows_by_what_came(chromium: Browser, world: World, first: Trained) -> None:
    page = opened(chromium, world, "/run/")
    page.wait_for_selector(".chart-card canvas")
    seen(page, "[data-figure=count]", "10")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    first.log(20)
    seen(page, "[data-figure=count]", "30")
    seen(page, ".facts .steps", "29")
    seen(page, "[data-figure=min]", "0.1000")
    until(lambda: "29" in (said := reading(page)) and "0.1000" in said)
    assert [url for url in asked if "/api/series/" in url] == []
    assert same_page(page)


def test_who_has_zoomed_in_keeps_the_view(chromium: Browser, world: World, first: Trained) -> None:
    page = opened(chromium, world, "/run/")
    page.wait_for_selector(".chart-card canvas")
    page.focus(".chart-card .area")
    page.keyboard.press("+")
    page.wait_for_timeout(500)
    zoomed = reading(page)
    first.log(20)
    seen(page, "[data-figure=count]", "30")
    page.wait_for_timeout(500)
    assert reading(page) == zoomed
    page.keyboard.press("Escape")
    until(lambda: "29" in reading(page))


def test_a_new_metric_brings_a_card_and_a_new_image_a_word(chromium: Browser, world: World, first: Trained) -> None:
    page = opened(chromium, world, "/run/")
    page.wait_for_selector(".chart-card canvas")
    first.log(3, tag="eval/loss")
    page.wait_for_selector(".chart-card[data-tag='eval/loss'] canvas", timeout=SOON)
    first.draw()
    seen(page, ".tabs [data-new]", "1 new")
    assert same_page(page)


def test_home_moves(chromium: Browser, world: World, first: Trained) -> None:
    page = opened(chromium, world, "/")
    seen(page, "#latest", "first")
    first.log(5)
    seen(page, "#latest .steps", "14")
    world.train("second").log(3)
    seen(page, "#latest", "second")
    seen(page, "#counts", "2")
    assert same_page(page)


def test_a_killed_site_counts_down_and_then_misses_nothing(chromium: Browser, world: World, first: Trained) -> None:
    page = opened(chromium, world, "/run/")
    page.wait_for_selector(".chart-card canvas")
    seen(page, "[data-figure=count]", "10")
    os.kill(world.site.pid, signal.SIGKILL)
    world.site.wait(10)
    seen(page, "#connection", "again in")
    first.log(40)
    world.serve()
    page.wait_for_selector("#connection[data-state=live]", timeout=SOON)
    seen(page, "[data-figure=count]", "50")
    seen(page, ".facts .steps", "49")
    until(lambda: "49" in reading(page))
    assert page.evaluate("window.here")


def test_signing_out_elsewhere_closes_the_socket(chromium: Browser, world: World) -> None:
    page = opened(chromium, world)
    other = page.context.new_page()
    other.goto(f"{world.url}/runs/")
    other.click("details.menu summary")
    other.click("details.menu form button")
    page.wait_for_selector("#connection[data-state='signed out']", timeout=SOON)
    page.click("#connection")
    page.wait_for_url("**/login/?next=%2Fruns%2F")


def test_a_follower_that_stopped_is_told(chromium: Browser, world: World, first: Trained) -> None:
    page = opened(chromium, world)
    world.follower.kill()
    page.wait_for_selector("#connection[data-state=stale]", timeout=SOON)
    assert "no new data" in page.inner_text("#connection")
    world.follow()
    page.wait_for_selector("#connection[data-state=live]", timeout=SOON)


def test_a_page_that_nobody_looks_at_lets_go_and_catches_up(chromium: Browser, world: World, first: Trained) -> None:
    page, _ = signed_in(chromium, world.url, 1440)
    page.clock.install()
    page.goto(f"{world.url}/runs/")
    page.wait_for_selector("#connection[data-state=live]", timeout=SOON)
    look = "hidden => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});"
    look += " document.dispatchEvent(new Event('visibilitychange')) }"
    page.evaluate(look, True)
    page.clock.fast_forward("06:00")
    page.wait_for_selector("#connection[data-state=paused]", state="attached", timeout=SOON)
    first.log(7)
    page.evaluate(look, False)
    page.wait_for_selector("#connection[data-state=live]", timeout=SOON)
    seen(page, ".runs td.c-step", "16")
