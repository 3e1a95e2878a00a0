"""Which headers go up to a TensorBoard and which come down: named ones, so that none is forgotten.

What is not named stays here: cookies, Authorization, Forwarded and its kin, hop-by-hop headers and those that
Connection names going up; Set-Cookie, Server and the like coming down.  Lengths are counted anew on both ways.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urljoin, urlsplit

Header = tuple[bytes, bytes]

#: TensorBoard is asked under this name, whatever the caller called us.
HOST = "tensorboard"
UP = {
    b"accept", b"accept-encoding", b"accept-language", b"content-type", b"if-match", b"if-modified-since", b"if-none-match",
    b"if-range", b"if-unmodified-since", b"range", b"x-tensorboard-feature-flags", b"x-xsrf-protected",
}  # fmt: skip
DOWN = {
    b"accept-ranges", b"age", b"content-disposition", b"content-encoding", b"content-language", b"content-length",
    b"content-range", b"content-security-policy", b"content-type", b"date", b"etag", b"expires", b"last-modified", b"vary",
}  # fmt: skip
#: May be framed by the run's page and by nothing else; is no other site's to load.
OURS: tuple[Header, ...] = (
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
#: A log's own bytes, opened as a document, run nothing here; what runs says itself what it needs.
NOTHING_RUNS: Header = (b"content-security-policy", b"default-src 'none'; sandbox")
_SCRIPTS = (b"text/javascript", b"application/javascript", b"application/x-javascript")


def upwards(said: Iterable[Header]) -> dict[str, str]:
    """What of a caller's headers TensorBoard is told."""
    headers = [(name.lower(), value) for name, value in said]
    dropped = {one.strip().lower() for name, value in headers if name == b"connection" for one in value.split(b",")}
    sent = {
        name.decode(): value.decode() for name, value in headers
        if name in UP and name not in dropped and value.isascii() and not any(sign in value for sign in (b"\r", b"\n", b"\0"))
    }  # fmt: skip
    return sent | {"Host": HOST}


def downwards(raw: Iterable[Header], prefix: str, path: str) -> list[Header]:
    """What of TensorBoard's headers the caller is told, and our own."""
    headers = [(name.lower(), value) for name, value in raw]
    names = {name for name, _ in headers}
    dropped = {one.strip().lower() for name, value in headers if name == b"connection" for one in value.split(b",")}
    if b"transfer-encoding" in names:
        dropped.add(b"content-length")
    sent = [(name, value) for name, value in headers if name in DOWN and name not in dropped]
    leads = [value.decode("latin-1") for name, value in headers if name == b"location"]
    sent += [(b"location", within(one, prefix, path).encode()) for one in leads]
    if b"content-security-policy" not in names and not _is_script(headers):
        sent.append(NOTHING_RUNS)
    return [*sent, (b"cache-control", _private(headers)), *OURS]


def _is_script(headers: list[Header]) -> bool:
    kind = next((value for name, value in headers if name == b"content-type"), b"")
    return kind.split(b";")[0].strip().lower() in _SCRIPTS


def _private(headers: list[Header]) -> bytes:
    """What TensorBoard says of caches, and never for those that several people share."""
    said = [one.strip() for name, value in headers if name == b"cache-control" for one in value.split(b",")]
    kept = [one for one in said if one and one.partition(b"=")[0].lower() not in (b"public", b"private", b"s-maxage")]
    return b", ".join([b"private", *(kept or [b"no-cache"])])


def within(location: str, prefix: str, path: str) -> str:
    """Where a redirect leads: an address of this TensorBoard; whatever leads out of it, to its first page."""
    try:
        to = urlsplit(urljoin(f"http://{HOST}{path}", location))
    except ValueError:
        return f"{prefix}/"
    inside = to.scheme == "http" and to.netloc == HOST and to.path.startswith(f"{prefix}/")
    clean = inside and to.path.isascii() and to.path.isprintable() and ".." not in to.path and "\\" not in to.path
    return to._replace(scheme="", netloc="").geturl() if clean else f"{prefix}/"
