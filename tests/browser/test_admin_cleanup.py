"""Runs are cleaned up in bulk in the admin: a viewer is refused, an operator may, an admin may force it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from retention import tasks
from retention.models import Plan
from tests.browser.conftest import enter
from tests.retention.oldruns import run_at, source_at
from tests.runs.factories import make_user

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page
    from pytest_django import Settings

LIST = "/admin/retention/runstorage/"


def names(page: Page, stage: str) -> list[str]:
    """The runs that the list shows at a stage."""
    page.goto(f"{page.url.split('/admin/')[0]}{LIST}?stage={stage}")
    return page.locator("th.field-name").all_inner_texts()


def bury_all(page: Page, *, forced: bool = False) -> None:
    """Tick what the list shows, look at the preview, type what it asks for; then do as the janitor does."""
    page.check("#action-toggle")
    page.select_option("[name=action]", "bury")
    page.click("[name=index]")
    if forced:
        page.check("#id_forced")
        page.click("text=Look again")
    page.fill("#id_typed", page.inner_text("label[for=id_typed] b"))
    page.click("#preview .default")
    page.wait_for_selector(".messagelist")
    tasks.carry_out(Plan.objects.latest("pk").pk)


def test_an_operator_buries_in_bulk_and_only_an_admin_forces(
    browser: Browser, serving: str, transactional_db: None, tmp_path: Path, settings: Settings
) -> None:
    settings.TRAINMON_ARCHIVE = str(tmp_path / "archive")
    source = source_at(tmp_path / "logs")
    for name in ("a", "b", "kept"):
        run_at(source, name, pinned=name == "kept")
    for who, role in (("alice", "viewer"), ("bob", "operator"), ("ada", "admin")):
        make_user(who, role)
    with browser.new_context() as context:
        page = context.new_page()
        enter(context, serving, "alice")
        refused = page.goto(serving + LIST)
        assert refused is not None and refused.status == 403 and page.locator("#result_list").count() == 0
        enter(context, serving, "bob")
        page.goto(serving + LIST)
        bury_all(page)
        assert (names(page, "buried"), names(page, "active")) == (["a", "b"], ["kept"])
        enter(context, serving, "ada")
        names(page, "active")
        bury_all(page, forced=True)
        assert names(page, "buried") == ["a", "b", "kept"]
