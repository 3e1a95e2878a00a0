"""The workspace in a real browser: lines overlaid, eyes, groups, differences, brushes (CH-17)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from runs.colours import looks
from tests.browser.test_accessible import found
from tests.browser.test_pages import signed_in
from tests.runs.factories import make_points, make_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

LOSS = "figure[data-tag='loss'] .canvas"


@pytest.fixture
def three(rows: int) -> list[int]:
    """Three runs of two datasets, before the browser is started."""
    ids = []
    for number, dataset in enumerate(("alpaca", "alpaca", "dolly")):
        run = make_run(name=f"seed-{number}", dataset=dataset, params={"lr": 10.0 ** -(number + 1), "seed": number})
        make_points(run, "loss", np.linspace(3, 1, 200) + number)
        make_points(run, "accuracy", np.linspace(0, 0.9, 200) - number / 10)
        ids.append(run.pk)
    return ids


def read(page: Page, wanted: list[str]) -> list[str]:
    """The names beside the cursor over the chart of the loss, in their order, once they are the wanted ones or in 10 s."""
    names: list[str] = []
    for _ in range(100):
        page.mouse.move(0, 0)
        page.hover(f"{LOSS} .u-over")
        if (names := page.locator(f"{LOSS} .chart-tip em").all_text_contents()) == wanted:
            break
        page.wait_for_timeout(100)
    return names


def test_three_runs_of_two_datasets_are_overlaid_told_apart_and_grouped(
    three: list[int], chromium: Browser, site: str
) -> None:
    """CH-17."""
    page, complaints = signed_in(chromium, site, 1440)
    page.goto(f"{site}/workspace/?" + "&".join(f"run={run}" for run in three))
    by_value = ["seed-2", "seed-1", "seed-0"]
    assert read(page, by_value) == by_value
    page.click(f"a[data-eye='{three[1]}']")
    page.wait_for_selector(f"li:not(.on)[data-run='{three[1]}']")
    assert read(page, ["seed-2", "seed-0"]) == ["seed-2", "seed-0"]
    assert f"shown={three[0]},{three[2]}" in page.url
    page.select_option("select[name=group]", "dataset")
    page.wait_for_selector("[data-group-look=dolly]")
    assert read(page, ["dolly (1)", "alpaca (1)"]) == ["dolly (1)", "alpaca (1)"]
    page.go_back()
    page.wait_for_selector("[data-group-look]", state="detached")
    page.keyboard.press("2")
    page.wait_for_selector("th[title=lr]")
    assert page.locator(".best").count() == 2
    assert complaints == []


def test_a_brush_keeps_the_runs_within_and_a_phone_shows_all_tabs(three: list[int], chromium: Browser, site: str) -> None:
    page, complaints = signed_in(chromium, site, 375)
    serious = {}
    for tab in ("charts", "table", "parallel", "scatter", "datasets"):
        page.goto(f"{site}/workspace/?tab={tab}&name=seed")
        page.wait_for_load_state("networkidle")
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth"), tab
        assert not page.locator(".runs-listed").is_visible()
        if some := found(page):
            serious[tab] = some
    assert serious == {}
    page.goto(f"{site}/workspace/?tab=parallel&name=seed")
    page.get_by_label("seed: at least").fill("1")
    assert page.locator("[data-count]").inner_text() == "2 of 3 runs."
    assert page.locator(".thread.off").count() == 1
    page.click("[data-clear]")
    assert page.locator(".thread.off").count() == 0
    assert complaints == []


def test_scripts_and_server_choose_the_same_looks(three: list[int], chromium: Browser, site: str) -> None:
    page, _ = signed_in(chromium, site, 1440)
    ids = [7, 17, 27, 37, 47, 57, 67, 8, 1, 10**9, 77, 87]
    told = page.evaluate(
        "async ids => [...(await import('/static/js/colours.js')).looks(ids)].map(([run, one]) => [run, one.colour, one.dash])",
        ids,
    )
    assert {run: (colour, dash) for run, colour, dash in told} == looks(ids)


def test_zooming_a_group_and_a_metric_as_axis_brings_finer_points(three: list[int], chromium: Browser, site: str) -> None:
    page, complaints = signed_in(chromium, site, 1440)
    for ways in ("group=dataset", "x=accuracy"):
        page.goto(f"{site}/workspace/?{ways}&" + "&".join(f"run={run}" for run in three))
        page.wait_for_selector(f"{LOSS} canvas")
        page.focus(LOSS)
        with page.expect_response(lambda answer: "/api/compare/lines/" in answer.url and "from=" in answer.url) as told:
            page.keyboard.press("+")
        assert told.value.ok
        with page.expect_response(lambda answer: "/api/compare/lines/" in answer.url and "from=" not in answer.url):
            page.keyboard.press("Escape")
    assert complaints == []
