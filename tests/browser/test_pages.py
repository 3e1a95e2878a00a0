"""The pages in a real browser: they fit a phone, keep the chosen theme and log no error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.browser.conftest import enter

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WIDTHS = (1440, 900, 375)


def signed_in(chromium: Browser, site: str, width: int) -> tuple[Page, list[str]]:
    """A page of alice's with the list of runs, and what its console has complained of."""
    page = chromium.new_context(viewport={"width": width, "height": 812}).new_page()
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    enter(page.context, site, "alice")
    page.goto(f"{site}/runs/")
    return page, complaints


def test_no_page_scrolls_sideways(chromium: Browser, site: str, rows: int) -> None:
    """375 px, 900 px and 1440 px."""
    too_wide = []
    for width in WIDTHS:
        page, complaints = signed_in(chromium, site, width)
        for path in ("/", "/runs/", f"/runs/{rows}/", "/nothing/"):
            page.goto(site + path)
            if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                too_wide.append((width, path))
        assert [said for said in complaints if "404" not in said] == []
    assert too_wide == []


def test_the_chosen_theme_stays(chromium: Browser, site: str) -> None:
    page, _ = signed_in(chromium, site, 1440)
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    dark = page.evaluate("getComputedStyle(document.body).color")
    page.click("[data-theme-toggle]")
    page.goto(f"{site}/")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    assert page.evaluate("getComputedStyle(document.body).color") != dark


def test_the_admin_is_as_dark_as_the_site_for_who_chose_nothing(chromium: Browser, site: str) -> None:
    page, _ = signed_in(chromium, site, 1440)
    assert page.evaluate("matchMedia('(prefers-color-scheme: light)').matches")
    assert page.evaluate("localStorage.getItem('theme')") == "dark"  # what the admin's own script reads


def test_a_curve_is_drawn_by_the_server(chromium: Browser, site: str, rows: int) -> None:
    page, _ = signed_in(chromium, site, 1440)
    page.goto(f"{site}/runs/{rows}/?plain=1")
    boxes = page.evaluate("[...document.querySelectorAll('path.line')].map(p => p.getBoundingClientRect().width)")
    assert len(boxes) == 3
    assert min(boxes) > 200


def test_what_is_hidden_is_not_shown(chromium: Browser, site: str, rows: int) -> None:
    page, _ = signed_in(chromium, site, 1440)
    page.goto(f"{site}/runs/{rows}/")
    assert not page.get_by_text("No tag on this page has these words.").is_visible()


def test_signing_out_closes_the_pages(chromium: Browser, site: str) -> None:
    page, _ = signed_in(chromium, site, 1440)
    page.click("details.menu summary")
    page.click("text=Sign out")
    page.goto(f"{site}/runs/")
    assert "/login/" in page.url
