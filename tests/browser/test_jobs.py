"""Jobs in a real browser: the list, every tab in both themes, a log of many lines, the gallery, what moves by itself."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.db.models import F
from django.utils.timezone import now
from playwright.sync_api import expect

from runs import logchunks
from runs.models import Job, Run
from runs.readers.records import Lines
from tests.browser.test_accessible import found
from tests.browser.test_run import signed_in
from tests.runs.factories import (
    make_checkpoint,
    make_file,
    make_full_job,
    make_job,
    make_points,
    make_run,
    make_sample,
    make_source,
    make_trainer,
    make_user,
)
from tests.runs.trees import picture

if TYPE_CHECKING:
    from playwright.sync_api import Browser

LINES = 100_000
BEGUN = datetime(2026, 1, 1, tzinfo=UTC)
#: Adds up how much of the page moves by itself (the browser's own measure), and counts what is made to flash.
SHIFTS = """window.shifted = 0; new PerformanceObserver((all) => {
  for (const one of all.getEntries()) window.shifted += one.value;
}).observe({ type: "layout-shift", buffered: true });"""
FLASHES = """window.flashed = 0; new MutationObserver((all) => {
  window.flashed += all.filter((one) => one.target.classList.contains("flash")).length;
}).observe(document.body, { subtree: true, attributes: true, attributeFilter: ["class"] });"""


@pytest.fixture
def rows(transactional_db: None, tmp_path: Path) -> int:
    """Jobs in all states, and one with everything; bob is an operator.  The number of the latter."""
    make_user("bob", "operator")
    source = make_source(make_trainer("lora"), root=str(tmp_path))
    for status in ("queued", "finished", "failed", "killed", "lost", "unknown"):
        bare = {"step": None, "total_steps": None, "message": ""} if status == "queued" else {}
        broken = {"error": "CUDA out of memory " * 20, "error_type": "OutOfMemoryError", "error_stack": "Traceback\n  x" * 40}
        more = bare | (broken if status == "failed" else {})
        make_job(make_run(source, status=status, name="long-" * 40), f"job-{status}", status=status, **more)
    make_full_job(make_run(source, status="running"), external_id="x" * 200, loss=0.0, lr=0.0, speed=0.0, step=0)
    job = make_full_job(make_run(source, status="running"), external_id="everything", asked=now())
    for step in (300, 100, 200):
        one = make_sample(job, f"step_{step:05d}.png", step)
        Path(source.root, one.said).parent.mkdir(parents=True, exist_ok=True)
        Path(source.root, one.said).write_bytes(picture())
    make_sample(job, "far.png", 400, path=b"")
    make_checkpoint(job)
    log(job, 900)
    make_points(job.run, "loss", [1.0 / (1 + n) for n in range(50)], file=job.run.log_files.get())
    return job.pk


def log(job: Job, count: int, start: int = 0) -> None:
    """Lines of a job's log: each seventh a warning, the last but one an error with a stack."""
    file = job.run.log_files.filter(kind="jsonl").first() or make_file(job.run, f"{job.external_id}.jsonl", kind="jsonl")
    lines = Lines()
    for number in range(start, start + count):
        at = BEGUN + timedelta(seconds=number)
        line: dict[str, Any] = {"ts": at.isoformat(), "level": "DEBUG", "msg": f"Step {number} of many", "event": "training.step"}
        if number % 7 == 0:
            line |= {"level": "WARNING", "msg": "slow " + "very " * 60, "event": "x.slow"}
        if number == start + count - 2:
            line |= {"level": "ERROR", "msg": "RuntimeError: boom\nTraceback:\n  line 3", "event": "x.boom"}
        lines.add(json.dumps(line).encode(), at.timestamp(), line["level"], line["event"])
    logchunks.store([((job.pk, file.pk, 0), lines)])
    logchunks.recount([job.run_id])


def test_every_page_fits_and_is_accessible_in_both_themes(chromium: Browser, site: str, rows: int) -> None:
    others = Job.objects.values_list("external_id", "pk")
    pages = ["/jobs/", "/jobs/?status=failed", *(f"/jobs/{rows}/{tab}" for tab in ("", "logs/", "samples/", "checkpoints/"))]
    pages += [f"/jobs/{pk}/" for name, pk in others if name in ("job-failed", "job-queued", "job-finished") or name[0] == "x"]
    wrong: dict[str, object] = {}
    for width, theme in ((375, "light"), (1440, "dark")):
        page, complaints = signed_in(chromium, site, width=width)
        page.evaluate("theme => localStorage.setItem('theme', theme)", theme)
        page.add_init_script(SHIFTS)
        for path in pages:
            page.goto(site + path)
            if path.endswith("logs/"):
                page.wait_for_selector("[data-ready]")
            if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                wrong[f"{path} {width}"] = "scrolls sideways"
            if some := found(page):
                wrong[f"{path} {theme}"] = some
            if (moved := page.evaluate("shifted")) > 0.01:
                wrong[f"{path} {width}"] = f"jumps while it comes: {moved}"
        assert complaints == []
    assert wrong == {}


def test_a_log_is_reached_from_end_to_end_in_a_window(chromium: Browser, site: str, rows: int) -> None:
    """ISG-48: the newest lines first, any line by its number, few rows on the page."""
    page, complaints = signed_in(chromium, site)
    page.goto(f"{site}/jobs/{rows}/logs/")
    page.wait_for_selector("[data-ready]")
    box, last = page.locator(".log-box"), page.locator("#L900")
    expect(last).to_be_in_viewport()
    expect(page.locator("[data-follow]")).to_be_checked()
    box.evaluate("box => { box.scrollTop = 0; }")
    expect(page.locator("#L1")).to_be_in_viewport()
    expect(page.locator("[data-follow]")).not_to_be_checked()
    assert page.locator(".line").count() < 700
    page.goto(f"{site}/jobs/{rows}/logs/?line=500#L500")
    expect(page.locator("#L500.target")).to_be_in_viewport()
    page.click("#L502 .ln")
    assert page.url.endswith("?line=502#L502")
    page.check("[data-follow]")
    expect(last).to_be_in_viewport()
    assert complaints == []


def test_lines_are_filtered_unfolded_and_wrapped(chromium: Browser, site: str, rows: int) -> None:
    page, complaints = signed_in(chromium, site)
    page.goto(f"{site}/jobs/{rows}/logs/")
    page.select_option("[name=level]", "ERROR")
    page.click("text=Filter")
    page.wait_for_selector("[data-ready]")
    expect(page.locator(".line")).to_have_count(1)
    expect(page.locator(".log-said")).to_have_text("1 line fits")
    page.click(".line summary")
    expect(page.locator(".line pre")).to_contain_text("line 3")
    page.goto(f"{site}/jobs/{rows}/logs/?level=WARNING")
    page.wait_for_selector("[data-ready]")
    wide = page.locator(".line").first.bounding_box()
    page.check("[data-wrap]")
    expect(page.locator(".log")).to_have_class("log reaching wrapped")
    narrow = page.locator(".line").first.bounding_box()
    assert wide and narrow
    assert narrow["height"] > wide["height"]
    assert narrow["width"] < wide["width"]
    assert complaints == []


def test_without_scripts_lines_are_read_page_by_page(chromium: Browser, site: str, rows: int) -> None:
    page, _ = signed_in(chromium, site, scripts=False)
    page.goto(f"{site}/jobs/{rows}/logs/")
    expect(page.locator(".line").last).to_contain_text("Step 899")
    page.click("text=first")
    expect(page.locator("#L1")).to_be_visible()
    page.fill("[name=search]", "BOOM")
    page.click("text=Filter")
    expect(page.locator(".line")).to_have_count(1)
    page.goto(f"{site}/jobs/{rows}/")
    page.click("text=Samples")
    expect(page.locator(".gallery img")).to_have_count(3)


def test_a_hundred_thousand_lines_are_usable(chromium: Browser, site: str, rows: int) -> None:
    """ISG-48: opening, jumping to the middle and filtering stay quick, and the page stays small."""
    log(Job.objects.get(pk=rows), LINES - 900, 900)
    page, complaints = signed_in(chromium, site)
    begun = time.monotonic()
    page.goto(f"{site}/jobs/{rows}/logs/")
    page.wait_for_selector("[data-ready]")
    expect(page.locator(f"#L{LINES}")).to_be_in_viewport()
    opened = time.monotonic() - begun
    begun = time.monotonic()
    page.locator(".log-box").evaluate("box => { box.scrollTop = box.scrollHeight / 2; }")
    expect(page.locator("#L50000")).to_be_attached()
    jumped = time.monotonic() - begun
    for _ in range(40):  # through a few thousand lines
        page.mouse.move(700, 600)
        page.mouse.wheel(0, 1500)
    expect(page.locator(".log-block.waiting")).to_have_count(0)
    assert page.locator(".line").count() < 1000
    assert page.evaluate("document.querySelectorAll('*').length") < 10_000
    print(f"100,000 lines: opened in {opened:.2f} s, jumped to the middle in {jumped:.2f} s")
    assert opened < 30 and jumped < 15  # on a busy machine; 1 s and 0.3 s where nothing else runs
    assert complaints == []


def test_samples_are_looked_at_by_step_and_one_after_the_other(chromium: Browser, site: str, rows: int) -> None:
    """ISG-49."""
    page, complaints = signed_in(chromium, site)
    page.goto(f"{site}/jobs/{rows}/samples/")
    expect(page.locator(".gallery figure b")).to_have_text(["step 100", "step 200", "step 300", "step 400"])
    expect(page.locator(".gallery .gone")).to_have_count(1)
    page.click(".gallery a >> nth=0")
    caption = page.locator("#light figcaption")
    expect(caption).to_contain_text("step 100")
    page.keyboard.press("ArrowRight")
    expect(caption).to_contain_text("step 200")
    page.keyboard.press("Escape")
    page.locator("[data-steps] input").fill("3")
    expect(page.locator(".gallery figure:visible")).to_have_count(1)
    expect(page.locator("[data-steps] output")).to_have_text("step 300, 3 of 4")
    assert complaints == []


def test_an_operator_asks_a_job_to_stop_and_copies_its_id(chromium: Browser, site: str, rows: int) -> None:
    page, complaints = signed_in(chromium, site)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"{site}/jobs/{rows}/")
    page.click("text=copy id")
    assert page.evaluate("navigator.clipboard.readText()") == "everything"
    page.click("text=Cancel…")
    page.click("text=Ask it to stop")
    expect(page.locator(".job-head .badge")).to_contain_text("asked to stop")
    assert complaints == []


def test_the_page_the_list_and_the_log_move_by_themselves(chromium: Browser, site: str, rows: int) -> None:
    """ISG-30, 46, 53: without reloading; what did not change is not touched, and nothing flashes where motion is not wanted."""
    page, complaints = signed_in(chromium, site)
    page.emulate_media(reduced_motion="reduce")
    listed, logged = page.context.new_page(), page.context.new_page()
    page.goto(f"{site}/jobs/{rows}/")
    listed.goto(f"{site}/jobs/")
    logged.goto(f"{site}/jobs/{rows}/logs/")
    logged.wait_for_selector("[data-ready]")
    for one in (page, listed, logged):
        one.wait_for_selector("#connection[data-state=live], #connection[data-state=stale]", state="attached")
    page.evaluate("document.querySelector('.params').dataset.mark = 'same'")
    page.wait_for_selector(".chart-card[data-tag=loss] canvas")
    for one in (page, listed):
        one.evaluate(FLASHES)

    job = Job.objects.get(pk=rows)
    log(job, 5, 900)
    job.refresh_from_db()
    job.step, job.loss, job.version = 777, -0.25, job.version + 1
    job.bars["train"]["value"] = 77.7
    job.save()
    make_points(job.run, "loss", [-0.25] * 5, steps=range(50, 55), file=job.run.log_files.get(), part=1)
    Run.objects.filter(pk=job.run_id).update(version=F("version") + 1)
    expect(page.locator(".metric-cards dd").first).to_contain_text("777")
    expect(page.locator(".metric-cards")).to_contain_text("-0.2500")
    expect(page.locator("[data-bar=train]")).to_contain_text("77.7 %")
    expect(listed.locator(f"#job-row-{rows} .c-step")).to_contain_text("777")
    expect(logged.locator("#L905")).to_be_in_viewport(timeout=15_000)
    expect(page.locator("#job-charts [data-figure=count]")).to_have_text("55")
    expect(page.locator("#job-charts .told")).to_have_text("1 restart")
    page.focus("#job-charts .area")
    page.keyboard.press("End")
    expect(page.locator("#job-charts .chart-tip")).to_contain_text("-0.2500")
    assert (page.evaluate("flashed"), listed.evaluate("flashed") > 0) == (0, True)
    assert page.evaluate("document.querySelector('.params').dataset.mark") == "same"
    assert complaints == []
