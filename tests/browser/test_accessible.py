"""axe-core finds nothing serious on any page, in both themes, wide and narrow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.browser.test_pages import signed_in

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

AXE = (Path(__file__).parent / "vendor/axe.min.js").read_text()
SERIOUS = {"serious", "critical"}


def found(page: Page) -> list[str]:
    """What axe-core calls serious, each with the first element it means."""
    page.evaluate(AXE)  # not by a script element, which the page's policy refuses
    violations = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then(r => r.violations)")
    return [
        f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:160]} {one['nodes'][0].get('failureSummary', '')[:200]}"
        for one in violations if one["impact"] in SERIOUS
    ]


def pages(run: int) -> list[str]:
    of_run = [f"/runs/{run}/{tab}" for tab in ("", "samples/", "parameters/", "files/", "tensorboard/", "notes/", "history/")]
    shown = "&".join(f"run={pk}" for pk in range(run - 2, run + 1))
    spaces = [f"/workspace/?{shown}&tab={tab}" for tab in ("charts", "table", "parallel", "scatter", "datasets")]
    return ["/", "/runs/", *of_run, *spaces, "/trainers/lora/", "/tensorboard/", "/account/", "/nothing/"]


def test_no_page_has_a_serious_violation(chromium: Browser, site: str, rows: int) -> None:
    complaints: dict[str, list[str]] = {}
    for width, theme in ((1440, "dark"), (375, "light")):
        page, _ = signed_in(chromium, site, width)
        page.evaluate("theme => localStorage.setItem('theme', theme)", theme)
        for path in pages(rows):
            page.goto(site + path)
            page.wait_for_load_state("networkidle")
            if some := found(page):
                complaints[f"{path} {width} {theme}"] = some
    assert complaints == {}


def test_the_sign_in_page_has_none_either(chromium: Browser, site: str) -> None:
    page = chromium.new_page()
    page.goto(f"{site}/login/")
    assert found(page) == []
