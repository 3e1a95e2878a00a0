"""From signing in to an export, as somebody would walk it: wide and dark, narrow and light."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.browser.test_run_list import menu, shown
from tests.runs.factories import make_file, make_points, make_run, make_source, make_trainer, make_user

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture
def rows(transactional_db: None) -> int:
    """Three runs of two datasets, for an operator; the id of the best."""
    make_user("alice", "operator")
    source = make_source(make_trainer("lora"))
    for name, dataset, end in (("slow", "alpaca", 0.9), ("good", "alpaca", 0.4), ("best", "dolly", 0.2)):
        run = make_run(source, name=name, dataset=dataset, params={"lr": end / 100, "seed": 1})
        file = make_file(run)
        make_points(run, "train/loss", np.linspace(3, end, 20_000), file=file)
        make_points(run, "eval/accuracy", np.linspace(0.2, 1 - end / 4, 20), steps=np.arange(20) * 1000, file=file)
    return run.pk


def sign_in(page: Page, site: str, theme: str) -> None:
    page.goto(f"{site}/")
    assert "/login/" in page.url
    page.evaluate("theme => localStorage.setItem('theme', theme)", theme)
    page.fill("#id_username", "alice")
    page.fill("#id_password", "password")
    page.click(".sign-in button")
    page.wait_for_url(f"{site}/")
    assert page.evaluate("document.documentElement.dataset.theme") == theme


def narrowed_and_sorted(page: Page, site: str) -> None:
    """Two runs below 0.5, the best first."""
    page.goto(f"{site}/runs/")
    menu(page, "Filter")
    page.locator(".filter-form [name=metric]").first.fill("train/loss < 0.5")
    page.select_option("#f-sort", "metric")
    page.click("text=Show runs")
    page.wait_for_url("**metric=**")
    assert shown(page) == ["best", "good"]


def zoomed(page: Page) -> None:
    """By keys, as fingers and mice differ."""
    page.wait_for_selector(".chart-card canvas")
    page.locator(".chart-card[data-tag='train/loss'] .chart").focus()
    page.keyboard.press("End")
    with page.expect_response(lambda answer: "from=" in answer.url and answer.ok):
        page.keyboard.press("+")


def noted_and_bookmarked(page: Page) -> None:
    page.click(".tabs >> text=Notes")
    page.fill("textarea[name=text]", "The one to keep <script>alert(1)</script>")
    page.click("text=Add note")
    assert "The one to keep <script>" in page.inner_text(".note .said")
    page.locator(".actions button", has_text="Bookmark").click()
    page.wait_for_selector(".actions [aria-pressed=true]:has-text('Bookmark')")


def exported(page: Page) -> list[list[str]]:
    page.click(".actions >> text=Export")
    with page.expect_download() as told:
        page.click("#do-export >> text=CSV")
    return list(csv.reader(io.StringIO(Path(told.value.path()).read_text())))


def compared(page: Page, site: str) -> None:
    """All three over one another, and how they differ."""
    page.goto(f"{site}/runs/?sort=name")
    for box in page.locator("tbody input[type=checkbox]").all():
        box.check()
    page.click("[data-compare]")
    page.wait_for_url("**/workspace/**")
    page.wait_for_selector("figure.overlay canvas")
    page.locator("a", has_text="Differences").click()
    page.wait_for_selector("text=Parameters")
    assert "lr" in page.inner_text("main")


@pytest.mark.parametrize(("width", "theme"), [(1440, "dark"), (375, "light")])
def test_a_day_with_it(chromium: Browser, site: str, rows: int, width: int, theme: str) -> None:
    page = chromium.new_context(viewport={"width": width, "height": 812}).new_page()
    complaints: list[str] = []
    asked: set[str] = set()
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.add(request.url))
    sign_in(page, site, theme)
    narrowed_and_sorted(page, site)
    menu(page, "Save view")
    page.fill(".views [name=name]", "Good ones")
    page.click("button:has-text('Save view')")
    assert page.inner_text(".tabs [aria-current]") == "Good ones"
    page.click(".c-name >> text=best")
    page.wait_for_url(f"{site}/runs/{rows}/")
    zoomed(page)
    noted_and_bookmarked(page)
    table = exported(page)
    assert table[0][-1] == "value"
    assert len(table) == 1 + 20_020
    page.goto(f"{site}/runs/?bookmarked=mine&q=keep")
    assert shown(page) == ["best"]
    compared(page, site)
    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
    assert complaints == []
    assert [url for url in asked if not url.startswith((site, "blob:", "data:"))] == []
