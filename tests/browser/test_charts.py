"""The charts of a run in a real browser: drawn when seen, zoomed with finer points, recoloured, honest when they fail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.browser.test_pages import signed_in
from tests.runs.factories import make_file, make_points, make_run, make_source, make_trainer, make_user
from tests.streaming.sites import until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

#: How many pixels of the first chart's canvas have (nearly) the colour of a custom property.
PIXELS = """(name) => {
  const canvas = document.querySelector('.chart-card canvas');
  const probe = new OffscreenCanvas(1, 1).getContext('2d');
  probe.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  probe.fillRect(0, 0, 1, 1);
  const [red, green, blue] = probe.getImageData(0, 0, 1, 1).data;
  const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', {willReadFrequently: true});
  copy.drawImage(canvas, 0, 0);
  const {data} = copy.getImageData(0, 0, canvas.width, canvas.height);
  let found = 0;
  for (let at = 0; at < data.length; at += 4) {
    const near = Math.abs(data[at] - red) + Math.abs(data[at + 1] - green) + Math.abs(data[at + 2] - blue);
    if (near < 12 && data[at + 3] > 200) found += 1;
  }
  return found;
}"""
PICTURE = "() => document.querySelector('.chart-card canvas').toDataURL()"


@pytest.fixture
def rows(transactional_db: None) -> int:
    """A run with a long restarted loss with NaN and Inf, and sixty more tags; its id."""
    make_user("alice", "viewer")
    run = make_run(make_source(make_trainer("lora")), name="charted")
    file = make_file(run)
    values = 3 * np.exp(-np.arange(20_000) / 5000) + 0.1
    values[5_000], values[15_000] = np.nan, np.inf
    make_points(run, "a/loss", values[:16_000], file=file)
    make_points(run, "a/loss", values[14_000:] / 2, steps=range(14_000, 20_000), file=file, part=1, wall=1_700_020_000.0)
    for number in range(60):
        make_points(run, f"b/{number:02d}", np.arange(200.0) * (number + 1), steps=np.arange(200) * 100, file=file)
    return run.pk


class Watched:
    """A page of the run, what it asked for, and what went wrong on it."""

    def __init__(self, chromium: Browser, site: str, run: int) -> None:
        self.page, self.complaints = signed_in(chromium, site, 1440)
        self.site, self.asked = site, []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.open(run)

    def open(self, run: int) -> None:
        self.page.goto(f"{self.site}/runs/{run}/")
        self.page.wait_for_selector(".chart-card canvas")
        self.settle()

    def settle(self) -> None:
        """Until all points that were asked for have come."""
        self.page.wait_for_timeout(100)
        self.page.wait_for_selector(".area.loading", state="detached")

    def series(self) -> list[str]:
        """The requests for points so far."""
        return [url for url in self.asked if "/api/series/" in url]

    def plot(self, number: int = 0) -> dict[str, float]:
        box = self.page.locator(".chart-card .u-over").nth(number).bounding_box()
        assert box
        return box  # type: ignore[return-value]

    def hover(self, share: float, number: int = 0) -> None:
        box = self.plot(number)
        self.page.mouse.move(box["x"] + box["width"] * share, box["y"] + box["height"] / 2)

    def drag(self, begin: float, end: float) -> None:
        self.hover(begin)
        self.page.mouse.down()
        self.hover((begin + end) / 2)
        self.hover(end)
        self.page.mouse.up()

    def well(self) -> None:
        """Nothing was complained of, and nobody else was asked."""
        assert self.complaints == []
        assert [url for url in self.asked if not url.startswith((self.site, "blob:", "data:"))] == []


@pytest.fixture
def watched(chromium: Browser, site: str, rows: int) -> Watched:
    return Watched(chromium, site, rows)


def canvases(page: Page) -> int:
    return int(page.evaluate("document.querySelectorAll('canvas').length"))


def set_tool(page: Page, name: str, value: Any) -> None:
    page.evaluate(
        """([name, value]) => {
          const field = document.getElementById('chart-tools').elements[name];
          if (field.type === 'checkbox') field.checked = value; else field.value = value;
          field.dispatchEvent(new Event('input', {bubbles: true}));
        }""", [name, value])


def test_charts_are_drawn_when_seen_and_given_up_far_off(watched: Watched) -> None:
    page = watched.page
    first = canvases(page)
    assert 1 <= first < 40
    assert len(watched.series()) <= 2
    page.locator(".chart-card").last.scroll_into_view_if_needed()
    page.wait_for_selector("[data-tag='b/59'] canvas")
    page.wait_for_selector("[data-tag='a/loss'] canvas", state="detached")
    assert canvases(page) < 50
    watched.well()


def test_a_printed_page_holds_every_chart_and_its_points(watched: Watched, rows: int) -> None:
    page = watched.page
    page.add_init_script("addEventListener('afterprint', () => { window.printed = ['.chart-card canvas', '.area.loading']"
                         ".map((what) => document.querySelectorAll(what).length); });")
    watched.open(rows)
    page.pdf()
    assert page.evaluate("printed") == [page.locator(".chart-card").count(), 0]
    assert canvases(page) < 40
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    watched.well()


def test_zooming_brings_finer_points_and_a_double_click_goes_back(watched: Watched) -> None:
    page = watched.page
    before = page.evaluate(PICTURE)
    with page.expect_response(lambda answer: "from=" in answer.url) as told:
        watched.drag(0.25, 0.28)
    assert "tag=a%2Floss" in told.value.url
    watched.settle()
    until(lambda: page.evaluate(PICTURE) != before)
    decoded = """url => import('/static/js/series.js').then(({decode}) => fetch(url).then(a => a.arrayBuffer()).then(decode))
        .then(({series}) => series[0].lines.map(line => line.thinned))"""
    assert page.evaluate(decoded, told.value.url) == [False]
    watched.settle()
    assert len({url for url in watched.series() if "from=" in url}) == 1
    with page.expect_response(lambda answer: "/api/series/" in answer.url and "from=" not in answer.url):
        box = watched.plot()
        page.mouse.dblclick(box["x"] + 50, box["y"] + 50)
    watched.well()


def test_the_cursor_is_shared_and_keys_read_and_zoom(watched: Watched) -> None:
    page = watched.page
    watched.hover(0.5)
    page.wait_for_selector(".chart-tip:visible")
    assert "step " in page.locator(".chart-tip:visible").inner_text()
    assert page.locator(".chart-card .last.reading").count() > 1
    page.mouse.move(5, 5)
    page.locator(".chart").first.focus()
    page.keyboard.press("End")
    assert "step 19,9" in page.locator(".chart-tip:visible").inner_text().replace("20,000", "19,999")
    with page.expect_response(lambda answer: "from=" in answer.url):
        page.keyboard.press("+")
    with page.expect_response(lambda answer: "/api/series/" in answer.url and "from=" not in answer.url):
        page.keyboard.press("Escape")
    watched.well()


def test_tools_change_what_is_drawn_and_are_remembered(watched: Watched, rows: int) -> None:
    page = watched.page
    seen = {page.evaluate(PICTURE)}
    for name, value in [("smoothing", "0.9"), ("log", True), ("segments", False), ("trimmed", True), ("axis", "relative")]:
        set_tool(page, name, value)
        watched.settle()
        until(lambda: page.evaluate(PICTURE) not in seen)
        seen.add(page.evaluate(PICTURE))
    set_tool(page, "tag", "b/1")
    assert page.locator(".chart-card:visible").count() == 10
    set_tool(page, "tag", "")
    page.locator("[data-tag='b/00'] [data-do=pin]").click()
    page.locator("[data-group=a] summary").click()
    watched.open(rows)
    assert page.locator("#pinned [data-tag='b/00']").count() == 1
    assert page.locator("[data-tag='a/loss']").is_hidden()
    assert page.locator("[name=axis]").input_value() == "relative"
    assert page.locator("[name=log]").is_checked()
    watched.well()


def test_charts_are_recoloured_with_the_theme_and_mark_nan_and_inf(watched: Watched) -> None:
    page = watched.page
    colour = f"--w{page.evaluate('Number(document.getElementById(`charts`).dataset.run)') % 10}"
    dark = page.evaluate(f"getComputedStyle(document.documentElement).getPropertyValue('{colour}')")
    until(lambda: page.evaluate(PIXELS, colour) > 200)
    assert page.evaluate(PIXELS, "--failed") > 3
    assert page.evaluate(PIXELS, "--stalled") > 3
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    assert page.evaluate(f"getComputedStyle(document.documentElement).getPropertyValue('{colour}')") != dark
    until(lambda: page.evaluate(PIXELS, colour) > 200)
    watched.well()


def test_a_failing_request_is_told_and_what_was_drawn_stays(watched: Watched) -> None:
    page = watched.page
    page.route("**/api/series/**", lambda route: route.abort())
    watched.drag(0.7, 0.8)
    page.wait_for_selector(".chart-card.stale .chart-state")
    assert "could not be loaded" in page.locator(".chart-state").first.inner_text()
    assert page.locator("#trouble").is_visible()
    assert page.evaluate(PIXELS, "--stalled") > 3
    page.unroute("**/api/series/**")
    page.click(".chart-state button")
    page.wait_for_selector(".chart-card.stale", state="detached")
    assert page.locator("#trouble").is_hidden()


def test_smoothing_is_the_debiased_average(watched: Watched) -> None:
    made = watched.page.evaluate("""import('/static/js/smoothing.js').then(({smoothed}) =>
        [...smoothed([0, 1, 2, 3], [4, NaN, 2, 8], 0.5, 0, 3)].map(y => Number.isNaN(y) ? null : y))""")
    # the weight of a step of two is that of one, squared
    second = (4 * 0.25 + 2) / 1.25
    third = ((4 * 0.25 + 2) * 0.5 + 8) / (1.25 * 0.5 + 1)
    assert made == pytest.approx([4, None, second, third])
