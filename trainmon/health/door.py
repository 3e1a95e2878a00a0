"""Who may read what: everybody the bare word, a token or an address all of it, operators what they see anyway."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from functools import cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from django.conf import settings
from django.http import parse_cookie

from runs.models import Trainer
from runs.roles import STAFF
from runs.signing import Accounts
from streaming.access import signed_in
from trainmon.health.asking import Hanging, in_thread, within

Network = IPv4Network | IPv6Network

#: What a proxy adds: the address of such a request is the proxy's, and says nothing of who asks.
PASSED_ON = {b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip", b"via"}
#: Seconds to find out whose session it is.
PATIENCE = 2.0


def is_shut() -> bool:
    """Whether nobody may read the metrics: nothing was set."""
    return not settings.TRAINMON_METRICS_TOKEN and not settings.TRAINMON_METRICS_FROM


def may_read(scope: Any) -> bool:
    """Whether a request comes with the token, or straight from an address that was named."""
    return _has_token(scope) or _is_near(scope)


def _has_token(scope: Any) -> bool:
    said = _header(scope, b"authorization")
    scheme, _, secret = said.partition(b" ")
    token = settings.TRAINMON_METRICS_TOKEN.encode()
    return bool(token) and scheme.lower() == b"bearer" and hmac.compare_digest(secret.strip(), token)


def _is_near(scope: Any) -> bool:
    if not settings.TRAINMON_METRICS_FROM or any(name.lower() in PASSED_ON for name, _ in scope["headers"]):
        return False
    try:
        address = ip_address((scope.get("client") or ("",))[0])
    except ValueError:  # a unix socket has none
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in network for network in networks(tuple(settings.TRAINMON_METRICS_FROM)))


@cache
def networks(said: Sequence[str]) -> list[Network]:
    """Addresses and networks; what is none lets nobody in (trainmon/checks.py says which)."""
    found = []
    for one in said:
        try:
            found.append(ip_network(one, strict=False))
        except ValueError:
            continue
    return found


async def trainers_of(scope: Any) -> set[int] | None:
    """The trainers whose details an operator or admin who is signed in may see; None: nobody such asks."""
    cookies = _header(scope, b"cookie", b"; ").decode("latin-1")
    key = parse_cookie(cookies).get(settings.SESSION_COOKIE_NAME, "")
    if not key:
        return None
    try:
        return await within(PATIENCE, in_thread(lambda: _trainers(key), "health: session"))
    except Hanging:
        return None
    except Exception:  # the database is away, which the word tells
        return None


def _trainers(key: str) -> set[int] | None:
    account = signed_in(key)
    user = Accounts().get_user(account.user) if account else None
    if user is None or not (user.is_superuser or user.groups.filter(name__in=STAFF).exists()):
        return None
    return set(Trainer.objects.visible_to(user).order_by().values_list("pk", flat=True))


def _header(scope: Any, wanted: bytes, between: bytes = b", ") -> bytes:
    return between.join(value for name, value in scope["headers"] if name.lower() == wanted)
