"""What people try against a proxy to TensorBoard, and that none of it arrives there (attack class "TensorBoard proxy")."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from runs.models import ApiToken, Trainer
from runs.roles import fill_roles
from tests.streaming.sites import Site, cookie_of
from tests.streaming.tensorboard.behind import asked, get, make_board, raw, serving

pytestmark = pytest.mark.django_db(transaction=True)
ROOT = "/tensorboard/lora"


class Upstream:
    """Answers whatever it is asked, and keeps what that was."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    def __call__(self, caller: socket.socket) -> None:
        while said := asked(caller):
            self.heard.append(said)
            caller.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 7\r\nServer: Werkzeug/3\r\n"
                b"Set-Cookie: sessionid=planted; Path=/\r\nX-Inner: 1\r\nConnection: X-Inner\r\n\r\nreached"
            )


@pytest.fixture
def upstream(tmp_path: Path, lora: Trainer) -> Iterator[Upstream]:
    told = Upstream()
    fill_roles()
    make_board(lora, tmp_path / "s")
    with serving(tmp_path / "s", told):
        yield told


@pytest.fixture
def cookie(alice: User) -> bytes:
    return b"Cookie: " + cookie_of(alice).encode() + b"\r\n"


def plain(site: Site, target: bytes, cookie: bytes, more: bytes = b"", method: bytes = b"GET", body: bytes = b"") -> bytes:
    host = f"Host: 127.0.0.1:{site.port}\r\nConnection: close\r\n".encode()
    return raw(site, method + b" " + target + b" HTTP/1.1\r\n" + host + cookie + more + b"\r\n" + body)


PATHS = [
    "/../router/data/runs", "/data/../../router/data/runs", "/./data/runs", "/%2e%2e/router/data/runs",
    "/..%2frouter/data/runs", "/..%5crouter", "/..", "/.", "//data/runs", "/data//runs", "//evil.example/",
    "/%2f%2fevil.example/", "/data/runs%00", "/data/runs%0d%0aX:1", "/data/runs%20HTTP/1.1", "/data\\runs", "/data/runs;x",
    "/data/runs;/../x", "/data/runs%3b", "/data/runs%23", "/data/runs%3fx", "/%64ata/runs", "/data/plugin/%70rojector/tensor",
    "/data/plugin/projector/tensor", "/data/plugin/projector/tensor/", "/data/plugin/projector/metadata?run=.&name=x",
    "/data/plugin/projector/sprite_image", "/data/plugin/projector/bookmarks", "/data/plugin/projector/info",
    "/data/plugin/projector/runs", "/experiment/x/data/plugin/projector/tensor", "/experiment//data/plugin/projector/tensor",
    "/experiment/defaultExperimentId/data/plugin/projector/tensor",
    "/experiment/defaultExperimentIdX/data/plugin/projector/tensor",
    "/experiment/defaultExperimentId/experiment/x/data/plugin/projector/tensor", "/experiment/defaultExperimentId//data/runs",
    "/experiment/defaultExperimentId/experiment/defaultExperimentId/data/plugin/projector/tensor",
    "/experiment/defaultExperimentId", "/experiment", "/data/plugin",
    "/data/plugin/whatif/examples_from_path?examples_path=/etc/passwd",
    "/data/plugin/profile/data", "/data/plugin/scalars/../projector/tensor", "/data/plugin/Projector/tensor",
    "/data/plugin_entry.html/x", "/data/logdir/..", "/@evil.example/..", "/%c0%ae%c0%ae/", "/%252e%252e/",
]  # fmt: skip


def test_no_path_but_a_plain_one_arrives(deaf: Site, upstream: Upstream, cookie: bytes) -> None:
    for path in PATHS:
        answer = plain(deaf, (ROOT + path).encode(), cookie)
        assert re.match(rb"HTTP/1.1 (400|403|404) ", answer), (path, answer[:200])
    assert upstream.heard == []
    for path in ("/data/runs", "/experiment/defaultExperimentId/data/runs"):
        assert plain(deaf, f"{ROOT}{path}".encode(), cookie).endswith(b"reached")


TARGETS = [
    b"http://evil.example/tensorboard/lora/data/runs",
    b"//tensorboard/lora/data/runs",
    b"/x/../tensorboard/lora/data/runs",
    b"/%74ensorboard/lora/data/runs",
    b"/tensorboard%2flora/data/runs",
    b"/tensorboard/lora%2fdata/runs",
    b"/tensorboard/%6cora/data/runs",
    b"/tensorboard//lora/data/runs",
    b"/tensorboard/./lora/data/runs",
    b"/TENSORBOARD/lora/data/runs",
    b"*",
    b"/" + b"a" * 9000,
]


def test_no_other_spelling_of_the_address_arrives(deaf: Site, upstream: Upstream, cookie: bytes) -> None:
    for target in TARGETS:
        assert b"reached" not in plain(deaf, target, cookie), target
    assert upstream.heard == []


def test_a_query_passes_as_it_is(deaf: Site, upstream: Upstream, cookie: bytes) -> None:
    query = b"run=a%2Fb%20c&tag=x;y&tag=%C3%A4%00%0d%0a&empty=&?a=/../&b=+%zz"
    plain(deaf, ROOT.encode() + b"/data/plugin/scalars/scalars?" + query, cookie)
    assert upstream.heard[0].startswith(b"GET /tensorboard/lora/data/plugin/scalars/scalars?" + query + b" HTTP/1.1\r\n")


def test_nothing_of_who_asks_arrives(deaf: Site, upstream: Upstream, cookie: bytes) -> None:
    more = (
        b"X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Host: evil\r\nForwarded: for=1\r\nX-Real-IP: 1\r\nProxy-Authorization: x\r\n"
        b"X-Correlation-ID: mine\r\nReferer: http://x/\r\nUser-Agent: me\r\nOrigin: null\r\nTE: trailers\r\nTrailer: X\r\n"
        b"Keep-Alive: 5\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\nX-HTTP-Method-Override: DELETE\r\nAccept: text/x\r\n"
        b'If-None-Match: "e"\r\nRange: bytes=0-1\r\nAccept-Encoding: gzip\r\nX-Anything: 1\r\n'
    )
    plain(deaf, f"{ROOT}/data/runs".encode(), cookie, more)
    heard = {line.split(b":")[0].lower(): line for line in upstream.heard[0].splitlines()[1:] if line}
    assert heard.keys() == {b"host", b"accept", b"accept-encoding", b"if-none-match", b"range"}
    assert heard[b"host"] == b"Host: tensorboard"


def test_a_token_does_not_arrive(deaf: Site, upstream: Upstream, alice: User) -> None:
    _, secret = ApiToken.issue(alice, "script")
    assert get(deaf, f"{ROOT}/data/runs", secret)[1] == b"reached"
    assert secret.encode() not in upstream.heard[0] and b"uthorization" not in upstream.heard[0]


def test_nothing_that_is_tensorboards_own_comes_back(deaf: Site, upstream: Upstream, alice: User) -> None:
    answer, _ = get(deaf, f"{ROOT}/data/runs", alice)
    assert "planted" not in str(answer.headers) and "Werkzeug" not in str(answer.headers) and answer.headers["X-Inner"] is None


INNER = b"GET /tensorboard/lora/data/plugin/projector/tensor HTTP/1.1\r\nHost: x\r\n\r\n"


MORE = [
    b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    b"Content-Length: 0\r\nContent-Length: 80\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: +5\r\n",
    b"Content-Length: 5, 5\r\n",
    b"Content-Length: -1\r\n",
    b"Transfer-Encoding: xchunked\r\n",
    b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding: chunked, identity\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n",
    b"Connection: Content-Length\r\nContent-Length: 5\r\n",
    b"X: y\nTransfer-Encoding: chunked\r\n",
    b"X-A: b\r\n Content-Length: 80\r\n",
    b"Content_Length: 80\r\n",
    b"",
]


def test_no_second_request_is_smuggled(deaf: Site, upstream: Upstream, cookie: bytes) -> None:
    origin = f"Origin: {deaf.url}\r\n".encode()
    target = b"/tensorboard/lora/data/plugin/timeseries/timeSeries"
    for more, method in product(MORE, (b"GET", b"POST")):
        plain(deaf, target, cookie, origin + more, method, b"0\r\n\r\n" + INNER)
    assert upstream.heard
    for head in upstream.heard:  # what came as a body is told as one, and is as long as is said
        said, _, body = head.partition(b"\r\n\r\n")
        assert b"projector" not in said and not re.search(rb"(?i)transfer-encoding", said)
        length = re.search(rb"(?i)content-length: (\d+)", said)
        assert len(body) == (int(length[1]) if length else 0)


def test_nothing_but_reading_is_asked(deaf: Site, upstream: Upstream, alice: User) -> None:
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND", "POST"):
        answer, _ = get(deaf, f"{ROOT}/data/plugin/scalars/scalars", alice, method, Origin=deaf.url)
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD"), method
    assert upstream.heard == []


def test_no_other_site_posts_with_ones_cookie(deaf: Site, upstream: Upstream, alice: User) -> None:
    path = ROOT + "/data/plugin/timeseries/timeSeries"
    for headers in (
        {},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": deaf.url, "Sec-Fetch-Site": "same-site"},
        {"Origin": f"http://127.0.0.1:{deaf.port + 1}"},
    ):
        assert get(deaf, path, alice, "POST", b"x", **headers)[0].status == 403, headers
    assert upstream.heard == []
    assert get(deaf, path, alice, "POST", b"x", Origin=deaf.url)[0].status == 200
    _, secret = ApiToken.issue(alice, "script")
    assert get(deaf, path, secret, "POST", b"x")[0].status == 200


def test_what_is_asked_has_a_largest_size(deaf: Site, upstream: Upstream, alice: User) -> None:
    answer, _ = get(deaf, ROOT + "/data/plugin/timeseries/timeSeries", alice, "POST", b"x" * 1_100_000, Origin=deaf.url)
    assert answer.status == 413
    assert upstream.heard == []


def test_a_head_has_a_largest_size(deaf: Site, upstream: Upstream, cookie: bytes) -> None:
    for more in (b"Accept: " + b"a" * 20_000 + b"\r\n", b"".join(b"X-%d: y\r\n" % number for number in range(2000))):
        assert b"reached" not in plain(deaf, f"{ROOT}/data/runs".encode(), cookie, more)
    assert b"reached" not in plain(deaf, f"{ROOT}/data/runs?".encode() + b"a" * 70_000, cookie)
    assert upstream.heard == []


def test_another_host_is_not_ours(deaf: Site, upstream: Upstream, cookie: bytes) -> None:
    for hosts in (b"Host: evil.example\r\n", b"Host: 127.0.0.1\r\nHost: evil.example\r\n"):
        answer = raw(deaf, b"GET /tensorboard/lora/data/runs HTTP/1.1\r\nConnection: close\r\n" + hosts + cookie + b"\r\n")
        assert answer.startswith(b"HTTP/1.1 400"), hosts
    assert upstream.heard == []


def test_who_names_no_host_is_no_browser(deaf: Site, upstream: Upstream, cookie: bytes) -> None:
    assert raw(deaf, b"GET /tensorboard/lora/data/runs HTTP/1.0\r\n" + cookie + b"\r\n").endswith(b"reached")
    post = b"POST /tensorboard/lora/data/plugin/timeseries/timeSeries HTTP/1.0\r\nContent-Length: 0\r\n"
    assert raw(deaf, post + b"Origin: http://127.0.0.1\r\n" + cookie + b"\r\n").startswith(b"HTTP/1.0 403")


def test_no_socket_is_opened_through_it(deaf: Site, upstream: Upstream, cookie: bytes) -> None:
    upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    upgrade += b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    assert b" 101 " not in plain(deaf, f"{ROOT}/data/runs".encode(), cookie, upgrade)
    assert upstream.heard == []
