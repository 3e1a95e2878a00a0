"""The run list in a real browser: filters, order, columns, chosen runs, saved views, by mouse and by keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.browser.test_accessible import found
from tests.browser.test_pages import signed_in

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


def shown(page: Page) -> list[str]:
    """The first word of each run's name, from above."""
    return [name.split("-")[0] for name in page.locator(".c-name .named > a").all_inner_texts()]


def menu(page: Page, name: str) -> None:
    page.locator("details.drop > summary", has_text=name).click()


def test_a_list_is_filtered_sorted_and_kept_as_a_view(chromium: Browser, site: str) -> None:
    page, complaints = signed_in(chromium, site, 1440)
    page.locator(".sums").wait_for()  # the totals, which come by themselves
    assert "8 runs" in page.inner_text(".foot")
    menu(page, "Filter")
    page.check("[name=status][value=failed]")
    page.check("[name=status][value=killed]")
    page.click("text=Show runs")
    page.wait_for_url(f"{site}/runs/?sort=-modified&status=failed&status=killed")  # nothing that was left empty
    assert sorted(shown(page)) == ["failed", "killed"]
    page.click("thead .c-name a")
    page.wait_for_url("**sort=name**")
    assert shown(page) == ["failed", "killed"]
    page.click("[aria-label='Remove the filter: status is failed']")
    page.wait_for_url(f"{site}/runs/?status=killed&sort=name")
    assert shown(page) == ["killed"]
    menu(page, "Save view")
    page.fill(".views [name=name]", "Killed")
    page.click("button:has-text('Save view')")
    assert page.inner_text(".tabs [aria-current]") == "Killed"
    page.click("thead .c-name a")
    page.wait_for_url("**/views/*/?status=killed&sort=-name")
    page.click(".changed button:has-text('Save')")
    page.locator(".changed").wait_for(state="detached")
    page.click(".tabs >> text=All runs")
    page.wait_for_url(f"{site}/runs/")
    assert len(shown(page)) == 8
    assert complaints == []


def test_runs_are_chosen_by_keys_over_several_pages(chromium: Browser, site: str) -> None:
    page, complaints = signed_in(chromium, site, 1440)
    page.goto(f"{site}/runs/?limit=4&sort=name")
    assert page.is_hidden("#selection")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.keyboard.press("]")
    page.wait_for_url("**after=**")
    page.keyboard.press("j")
    page.keyboard.press("x")
    assert page.inner_text("[data-count]") == "2 chosen, 1 here"
    moving = "getComputedStyle(document.getElementById('selection')).animationName"
    assert page.evaluate(moving) == "rise"
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate(moving) == "none"
    page.click("[data-choose-all]")
    assert page.inner_text("[data-count]") == "5 chosen, 4 here"
    page.keyboard.press("?")
    assert "choose the run" in page.inner_text("#keys")
    page.keyboard.press("Escape")
    menu(page, "Bookmark")
    page.click("text=For me")
    assert "5 runs bookmarked." in page.inner_text(".notices")
    assert "after=" in page.url
    compare = page.get_attribute("[data-compare]", "href") or ""
    assert compare.count("run=") == 5
    page.click("text=Clear")
    assert page.is_hidden("#selection")
    page.keyboard.press("k")
    page.keyboard.press("x")
    page.keyboard.press("c")
    page.wait_for_url(f"{site}/workspace/?run=*")
    page.go_back()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site}/runs/*/")
    assert complaints == []


def test_columns_move_in_place_and_open_menus_are_accessible(chromium: Browser, site: str) -> None:
    page, complaints = signed_in(chromium, site, 1440)
    menu(page, "Columns")
    for name in ("Trainer", "Points", "Files", "Started"):
        page.uncheck(f".picker label:has-text('{name}') >> input")
    page.focus("[aria-label='Move Duration to the left']")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    page.focus(".picker [list]")
    page.locator("#known-columns option").first.wait_for(state="attached")
    assert "min(train/loss)" in page.eval_on_selector_all("#known-columns option", "all => all.map(one => one.value)")
    page.fill(".picker [list]", "min(train/loss)")
    page.click(".picker >> text=Show >> nth=-1")
    page.wait_for_url("**column=**")
    headings = ["Status", "Name", "Step", "Metric", "Size", "Duration", "Modified", "train/loss min"]
    assert [one.strip(" ↓\n") for one in page.locator("thead th").all_inner_texts()[1:]] == headings
    assert page.locator("td.c-value").first.inner_text() in ("1.000", "–")
    for width, theme in ((1440, "light"), (375, "dark")):
        page.set_viewport_size({"width": width, "height": 812})
        page.evaluate("theme => localStorage.setItem('theme', theme)", theme)
        page.goto(f"{site}/runs/?status=failed")
        page.check("tbody .c-pick input")
        menu(page, "Filter")
        assert found(page) == []
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
        page.goto(f"{site}/runs/?metric=loss&status=failed")
        menu(page, "Columns")
        assert found(page) == []
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
    assert [said for said in complaints if "400" not in said] == []
