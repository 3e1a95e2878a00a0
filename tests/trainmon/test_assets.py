"""The site's own scripts and styles, from the ASGI application itself: no thread, no Django, the same headers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from pytest_django import Settings

from trainmon.assets import Assets
from trainmon.pacing import Message, Send

SITE = Path(__file__).parents[2] / "static"


async def django_itself(scope: Message, receive: Any, send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b"django"})


async def asked(assets: Assets, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one answer."""
    said = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": said}
    talk = ApplicationCommunicator(assets, scope)
    await talk.send_input({"type": "http.request"})
    first, body, more = await talk.receive_output(5), b"", True
    while more:
        part = await talk.receive_output(5)
        body, more = body + part["body"], part.get("more_body", False)
    return first["status"], {name.decode(): value.decode() for name, value in first["headers"]}, body


@pytest.fixture(scope="module")
def assets() -> Assets:
    return Assets(django_itself)


@pytest.mark.parametrize("name", ["css/site.css", "js/live.js", "icon.svg", "vendor/uplot/uPlot.iife.min.js"])
async def test_a_file_is_answered_whole_with_the_headers_of_every_answer(assets: Assets, name: str) -> None:
    status, headers, body = await asked(assets, f"/static/{name}")
    assert status == 200 and body == (SITE / name).read_bytes() and int(headers["content-length"]) == len(body)
    assert headers["x-content-type-options"] == "nosniff" and "default-src 'none'" in headers["content-security-policy"]
    assert headers["referrer-policy"] == headers["cross-origin-opener-policy"] == "same-origin"


async def test_a_large_one_too(assets: Assets) -> None:
    status, headers, body = await asked(assets, "/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js")
    assert status == 200 and int(headers["content-length"]) == len(body) > 1 << 20


async def test_what_a_browser_has_is_not_sent_again(assets: Assets) -> None:
    _, headers, _ = await asked(assets, "/static/css/site.css")
    assert (await asked(assets, "/static/css/site.css", if_none_match=headers["etag"]))[::2] == (304, b"")


async def test_a_part_a_head_and_other_methods(assets: Assets) -> None:
    whole = (SITE / "css/site.css").read_bytes()
    status, headers, body = await asked(assets, "/static/css/site.css", range="bytes=10-19")
    assert (status, body, headers["content-range"]) == (206, whole[10:20], f"bytes 10-19/{len(whole)}")
    status, headers, body = await asked(assets, "/static/css/site.css", "HEAD")
    assert (status, body, headers["content-length"]) == (200, b"", str(len(whole)))
    assert (await asked(assets, "/static/css/site.css", "POST"))[0] == 405


@pytest.mark.parametrize("path", [
    "/", "/static/", "/static/nothing.css", "/static/../manage.py", "/static/%2e%2e/manage.py", "/static//etc/passwd",
    "/staticcss/site.css", "/static/css/site.css/", "/static/css/\x00"])  # fmt: skip
async def test_anything_else_is_for_django(assets: Assets, path: str) -> None:
    assert (await asked(assets, path))[::2] == (204, b"django")


async def test_a_style_that_is_being_written_is_seen_at_once(tmp_path: Path, settings: Settings) -> None:
    """DEBUG: a file is looked up again with each request."""
    settings.STATICFILES_DIRS, settings.SERVESTATIC_AUTOREFRESH = [tmp_path], True
    style = tmp_path / "new.css"
    style.write_text("one")
    assets = Assets(django_itself)
    assert (await asked(assets, "/static/new.css"))[2] == b"one"
    style.write_text("twice")
    assert (await asked(assets, "/static/new.css"))[2] == b"twice"
    assert {(await asked(assets, f"/static/{up}/manage.py"))[0] for up in ("%2e%2e", "..")} == {204}
