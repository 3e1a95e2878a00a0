"""A real TensorBoard, kept by a real supervisor, in a real browser behind our sign-in."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from django.conf import settings
from playwright.sync_api import expect
from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

from runs.models import Run
from runs.roles import fill_roles
from tests.browser.test_accessible import found
from tests.runs.factories import make_trainer, make_user
from tests.runs.processes import environment
from tests.runs.trees import settle, synced
from tests.streaming.tensorboard.boxes import until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

#: A tab of TensorBoard, and what is there once its data is.
TABS = {
    "Time Series": "scalar-card line-chart",
    "scalars": "tf-scalar-card",
    "images": "tf-image-loader img",
    "text": "tf-text-loader",
    "histograms": "tf-histogram-loader svg",
    "hparams": "tf-hparams-main",
}


@pytest.fixture
def rows(transactional_db: None, tmp_path: Path) -> int:
    """Two runs read from disk; the id of the one with everything in it.  Alice may see them, Charlie not."""
    fill_roles()
    make_trainer("lora", "team-lora")
    make_user("alice", "viewer", "team-lora")
    make_user("charlie", "viewer")
    for name in ("first", "second"):
        write(tmp_path / "logs" / "ds" / name)
    settle(tmp_path)
    synced(tmp_path / "logs", "lora")
    return Run.objects.get(name__contains="first").pk


def write(folder: Path) -> None:
    """Something for every tab."""
    writer = SummaryWriter(str(folder))
    for step in range(20):
        writer.add_scalar("loss", 1 / (step + 1), step)
        writer.add_histogram("weights", np.random.default_rng(step).normal(size=200), step)
    for summary in hparams({"lr": 0.1}, {"loss": 0.05}):
        writer.file_writer.add_summary(summary)
    writer.add_image("picture", np.full((3, 16, 16), 128, dtype=np.uint8), 1)
    writer.add_text("prompt", "Once upon a time", 1)
    writer.close()


@pytest.fixture
def kept(rows: int, tmp_path: Path) -> Iterator[Path]:
    """A supervisor beside the site; where it writes what it says."""
    env = environment(TRAINMON_SECRET_KEY=settings.SECRET_KEY, TRAINMON_HOME=str(tmp_path / "home"))
    said = tmp_path / "supervisor.log"
    with said.open("wb") as log:
        command = [sys.executable, "manage.py", "tensorboards"]
        process = subprocess.Popen(command, env=env, cwd=settings.BASE_DIR, stdout=log, stderr=log)
        try:
            yield said
        finally:
            process.terminate()
            process.wait(15)


def page_of(chromium: Browser) -> tuple[Page, list[str]]:
    """A page, and what its console complains of."""
    page = chromium.new_context(viewport={"width": 1440, "height": 900}).new_page()
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(f"{said.text} {said.location['url']}") if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return page, complaints


def sign_in(page: Page, name: str) -> None:
    page.fill("#id_username", name)
    page.fill("#id_password", "password")
    page.click(".sign-in button")


def test_a_viewer_opens_a_real_tensorboard_and_a_stranger_does_not(chromium: Browser, site: str, rows: int, kept: Path) -> None:
    """CH-11, CH-20, AFS-59."""
    page, complaints = page_of(chromium)
    page.goto(f"{site}/tensorboard/lora/")
    assert page.url == f"{site}/login/?next=/tensorboard/lora/"
    sign_in(page, "alice")
    page.wait_for_url(f"{site}/tensorboard/lora/**")
    # the page that waits gives way by itself; its first look may come before the logs are read
    page.wait_for_selector("tb-webapp", state="attached", timeout=60_000)
    until(lambda: len(page.request.get(f"{site}/tensorboard/lora/data/runs").json()) == 2)
    page.reload()
    complaints.clear()  # that the page which waited was a 503
    for tab, sign in TABS.items():
        page.get_by_role("tab", name=tab, exact=True).click()
        expect(page.locator(sign).first).to_be_visible()

    stranger, _ = page_of(chromium)
    stranger.goto(f"{site}/login/?next=/tensorboard/lora/")
    with stranger.expect_response(f"{site}/tensorboard/lora/") as answer:
        sign_in(stranger, "charlie")
    assert answer.value.status == 403
    expect(stranger.locator("h1")).to_have_text("Not yours to open")

    page.goto(f"{site}/runs/{rows}/tensorboard/")
    assert found(page) == []
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/tensorboard/lora/" in request.url else None)
    page.wait_for_timeout(300)
    assert asked == [], "the frame is not loaded before somebody wants it"
    page.click("summary:has-text('Show it here')")
    frame = page.frame_locator("iframe")
    expect(frame.locator("runs-data-table").get_by_text("ds/first")).to_be_visible()
    expect(frame.get_by_text("ds/second")).to_have_count(0)
    assert complaints == []
