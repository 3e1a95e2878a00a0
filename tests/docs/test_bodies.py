"""A body of any size, sent by anybody, fills neither memory nor disk."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from pathlib import Path

from tests.docs.conftest import Site

SENT = 60 * 1024 * 1024


def pieces() -> Iterator[bytes]:
    for _ in range(SENT // 65536):
        yield bytes(65536)


def written(site: Site) -> int:
    """Bytes that the site has written so far, to any file or socket."""
    assert site.process
    return int(Path(f"/proc/{site.process.pid}/io").read_text().split("wchar: ")[1].split()[0])


def post(site: Site, path: str, headers: dict[str, str], *, chunked: bool) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
    length = {} if chunked else {"Content-Length": str(SENT)}
    connection.request("POST", path, pieces(), {"Content-Type": "application/json"} | length | headers)
    return connection.getresponse().status


def test_a_huge_body_is_refused_and_not_stored(site: Site, token: str) -> None:
    site.start()
    events, files = "/api/ingest/events/", "/api/ingest/files/?path=a/b&offset=0"
    post(site, "/login/", {}, chunked=False)  # what is loaded on the way
    for chunked in (False, True):
        before = written(site)
        assert post(site, events, {}, chunked=chunked) == 401
        assert post(site, "/login/", {}, chunked=chunked) == 403
        for path in (events, files):
            assert post(site, path, {"Authorization": f"Bearer {token}"}, chunked=chunked) == 413
        assert written(site) - before < SENT * 1.5  # of four times as much; stored twice at most, by server and Django
