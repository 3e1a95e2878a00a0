"""The page of a run in a real browser: its tabs, what people do to it, its images; with and without scripts."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from playwright.sync_api import expect

from runs.models import Run
from tests.browser.conftest import enter
from tests.browser.test_accessible import found
from tests.runs.factories import make_user
from tests.runs.trees import media, picture, settle, sound, synced, tensors, write_values, write_x

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TABS = ("", "samples/", "parameters/", "files/", "tensorboard/", "notes/", "history/")


@pytest.fixture
def rows(transactional_db: None, tmp_path: Path) -> int:
    """A run read from disk with images, sounds and texts; bob is an operator."""
    make_user("bob", "operator")
    folder = tmp_path / "logs" / "ds" / "run"
    wide = io.BytesIO()
    Image.new("RGB", (2000, 200), (0, 80, 200)).save(wide, "PNG")
    write_values(folder, media("first", picture()), tensors("grid", "images", [b"8", b"8", picture(), wide.getvalue()], [4]),
                 media("drawing", b"<svg onload='alert(1)'/>"), media("voice", sound(), "audio"),
                 tensors("prompt", "text", [b"**Prompt** " + b"long" * 200], [1]))
    write_x(folder)
    (folder / "args.json").write_text('{"lr": 0.1, "lora": {"r": 16}, "long": "' + "x" * 3000 + '"}')
    settle(tmp_path)
    synced(tmp_path / "logs")
    run = Run.objects.get()
    Run.objects.update(name="name-" * 300, error="boom " * 400, tags=["a" * 100, "b"])
    return run.pk


def signed_in(chromium: Browser, site: str, *, width: int = 1440, scripts: bool = True) -> tuple[Page, list[str]]:
    """A page of bob's, and what its console has complained of."""
    size = {"width": width, "height": 812}
    page = chromium.new_context(viewport=size, java_script_enabled=scripts).new_page()
    complaints: list[str] = []
    page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    enter(page.context, site, "bob")
    page.goto(f"{site}/")
    return page, complaints


def test_every_tab_fits_and_is_accessible_in_both_themes(chromium: Browser, site: str, rows: int) -> None:
    wrong: dict[str, object] = {}
    for width, theme in ((375, "light"), (1440, "dark")):
        page, complaints = signed_in(chromium, site, width=width)
        page.evaluate("theme => localStorage.setItem('theme', theme)", theme)
        for tab in TABS:
            page.goto(f"{site}/runs/{rows}/{tab}")
            if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                wrong[f"{tab} {width}"] = "scrolls sideways"
            if some := found(page):
                wrong[f"{tab} {theme}"] = some
        page.click("text=Rename")
        if some := found(page):
            wrong[f"rename {theme}"] = some
        assert complaints == []
    assert wrong == {}


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
def test_people_rename_tag_bookmark_and_note(chromium: Browser, site: str, rows: int, scripts: bool) -> None:
    page, complaints = signed_in(chromium, site, scripts=scripts)
    page.goto(f"{site}/runs/{rows}/notes/")
    page.click(".actions >> text=Rename")
    page.fill("#do-rename [name=name]", "the good one")
    page.click("#do-rename .go")
    expect(page.locator("h1")).to_have_text("the good one")
    assert page.url.endswith("/notes/")
    page.click(".actions >> text=Tags")
    page.fill("#do-tags [name=add]", "best, seed 43")
    page.click("#do-tags .go")
    page.click("[aria-label='Take away the tag b']")
    expect(page.locator(".tagged .badge")).to_have_count(3)
    page.click("text=☆ Bookmark")
    page.click(".actions >> text=Share")
    expect(page.locator("button[aria-pressed=true]")).to_have_count(2)
    page.fill(".write textarea", "first\n  second")
    page.click("text=Add note")
    page.click(".note >> text=Edit")
    page.fill(".note textarea", "third")
    page.click("text=Save")
    expect(page.locator(".note .said").first).to_have_text("third")
    page.click(".note >> text=Delete")
    page.click(".go.danger")
    expect(page.locator(".note")).to_have_count(0)
    assert complaints == []


def test_images_are_looked_at_one_after_the_other(chromium: Browser, site: str, rows: int) -> None:
    page, complaints = signed_in(chromium, site)
    page.goto(f"{site}/runs/{rows}/samples/")
    page.click("a[data-light] >> nth=1")
    caption = page.locator("#light figcaption")
    expect(caption).to_have_text("first at step 1")
    page.keyboard.press("ArrowRight")
    expect(caption).to_have_text("grid at step 1, image 1 of 2")
    page.keyboard.press("ArrowRight")
    expect(caption).to_have_text("grid at step 1, image 2 of 2")
    # a function: a bare expression would be evaluated in the page, which its policy refuses
    page.wait_for_function("() => document.querySelector('#light img').naturalWidth === 2000")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(caption).to_have_text("first at step 1")
    page.keyboard.press("Escape")
    expect(page.locator("#light")).to_be_hidden()
    assert complaints == []


def test_parameters_are_found_by_name_and_value(chromium: Browser, site: str, rows: int) -> None:
    page, complaints = signed_in(chromium, site)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{site}/runs/{rows}/parameters/")
    shown = page.locator("#parameters tbody tr:visible")
    page.fill("[data-filter]", "LORA 16")
    expect(shown).to_have_count(1)
    page.fill("[data-filter]", "")
    expect(shown).to_have_count(3)
    page.click("text=Copy as JSON")
    expect(page.locator("[data-copy]")).to_have_text("Copied")
    assert '"lora.r": 16' in page.evaluate("navigator.clipboard.readText()")
    assert complaints == []
