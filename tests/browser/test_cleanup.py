"""Cleaning up as an operator does it: choose, look, confirm, watch, bring back; and no page of it bars anybody."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from retention import janitor, policies
from retention.models import Hold, RetentionPolicy
from runs.models import Source
from tests.browser.conftest import enter
from tests.browser.test_accessible import found
from tests.retention.oldruns import content, make_tomb, run_at, source_at
from tests.runs.factories import make_user

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page
    from pytest_django import Settings

CONFIRM = ".sure button"
DAY = timedelta(days=1)


@pytest.fixture
def source(transactional_db: None, tmp_path: Path, settings: Settings) -> Source:
    """Two old runs, and one that somebody holds."""
    settings.TRAINMON_ARCHIVE = str(tmp_path / "archive")
    source = source_at(tmp_path / "logs")
    for name in ("kept", "old-1", "old-2"):
        run = run_at(source, name)
        if name == "kept":
            Hold.objects.create(run=run, reason="for the paper")
    make_user("bob", "operator")
    return source


def confirmed(page: Page) -> None:
    """Only the number of runs is an answer: the button waits for it, and the server does not take another either."""
    page.fill("#sure-typed", "3")
    assert page.is_disabled(CONFIRM)
    page.eval_on_selector(CONFIRM, "button => { button.disabled = false; }")
    page.click(CONFIRM)
    assert page.inner_text("#sure-wrong") == "This is not the number of runs: they are 2."
    assert page.evaluate("document.activeElement.id") == "sure-typed"
    page.fill("#sure-typed", "2")
    page.click(CONFIRM)
    page.wait_for_url("**/storage/cleanups/*/")


def test_an_operator_cleans_up_what_was_shown_and_brings_it_back(browser: Browser, serving: str, source: Source) -> None:
    root = Path(source.root)
    before = content(root)
    with browser.new_context(viewport={"width": 375, "height": 812}) as context:
        enter(context, serving, "bob")
        page = context.new_page()
        page.goto(f"{serving}/storage/cleanups/new/?older_than=7d")
        assert "3 chosen" in page.inner_text(".deed")
        page.click(".deed button")
        assert page.inner_text("section:has(h2:text-is('Stays')) td.text") == "is held: for the paper"
        confirmed(page)
        janitor.round()
        page.wait_for_selector(".doing .finished")  # by itself
        assert "2 of 3 runs moved to the trash" in page.inner_text(".sums")
        assert sorted({path.split("/")[0] for path in content(root)}) == ["kept"]
        page.click(".doing .link")
        for box in page.locator("[name=tomb]").all():
            box.check()
        page.click("text=Restore the chosen")
        assert page.locator(".badge.back").count() == 2
        janitor.round()
        page.reload()
        assert "Nothing lies in the trash." in page.inner_text("#graves") and content(root) == before
        assert page.evaluate("document.documentElement.scrollWidth") == 375


def test_no_page_about_cleaning_up_has_a_serious_violation(browser: Browser, serving: str, source: Source) -> None:
    plan = make_tomb(run_at(source, "gone", lifecycle_stage="buried")).planned.plan
    policy = RetentionPolicy.objects.create(name="a day", trainer=source.trainer, max_age=DAY, enabled=True, most_runs=1)
    assert "refused" in policies.order_all(policy.created)[0]
    make_user("ada", "admin")
    cleanups = [f"/storage/cleanups/{page}" for page in ("new/", "preview/?older_than=7d", f"{plan.pk}/")]
    complaints = {}
    for who, width, theme, paths in (
        ("bob", 375, "light", ["/storage/", "/storage/trash/", *cleanups]),
        ("ada", 1440, "dark", ["/audit/", "/audit/usage/", "/storage/policies/", policy.get_absolute_url()]),
    ):
        with browser.new_context(viewport={"width": width, "height": 900}) as context:
            enter(context, serving, who)
            page = context.new_page()
            page.add_init_script(f"localStorage.setItem('theme', '{theme}')")
            for path in paths:
                page.goto(serving + path)
                if some := found(page):
                    complaints[f"{path} {who}"] = some
    assert complaints == {}
