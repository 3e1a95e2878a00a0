"""How often one may call: a bucket a key and kind of call, in the memory of this process.

Reads, writes and calls by nobody each have their own (TRAINMON_API_RATE).  A bucket holds a
minute's calls and refills evenly.  Several web processes count on their own: the limit guards
each of them from a loop gone wild, it is no billing.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from django.conf import settings
from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from runs.api.authentication import token_of

#: Beyond so many the full ones are forgotten: nobody fills the memory from many addresses.
MAX_BUCKETS = 10_000


class Buckets:
    """What is left to each key."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def take(self, key: str, per_minute: int, at: float) -> float:
        """Take one call; 0, or the seconds after which there is one to take."""
        with self._lock:
            if len(self._left) >= MAX_BUCKETS:
                self._forget(at)
            left, since = self._left.get(key, (float(per_minute), at))
            left = min(float(per_minute), left + (at - since) * per_minute / 60)
            self._left[key] = (left - 1 if left >= 1 else left, at)
        return 0.0 if left >= 1 else (1 - left) * 60 / per_minute

    def clear(self) -> None:
        """Begin anew."""
        self._left.clear()

    def _forget(self, at: float) -> None:
        """Drop what was not used for a minute, for those are full; else the older half."""
        kept = {key: value for key, value in self._left.items() if at - value[1] < 60}
        if len(kept) >= MAX_BUCKETS:
            kept = dict(sorted(kept.items(), key=lambda item: item[1][1])[MAX_BUCKETS // 2 :])
        self._left = kept


buckets = Buckets()


class Rate(BaseThrottle):
    """The throttle of every view."""

    retry = 0.0

    @staticmethod
    def limits() -> tuple[int, int, int]:
        """Reads, writes, and calls by nobody, a minute."""
        reads, writes, anonymous = settings.TRAINMON_API_RATE
        return reads, writes, anonymous

    def allow_request(self, request: Request, view: Any) -> bool:
        """Whether this key has a call left; a limit of 0 is none."""
        reads, writes, anonymous = self.limits()
        if token := token_of(request):
            who = f"token:{token.pk}"
        elif request.user.is_authenticated:
            who = f"user:{request.user.pk}"
        else:
            # never X-Forwarded-For: whoever calls could write there what they like
            who, reads, writes = f"address:{request.META.get('REMOTE_ADDR')}", anonymous, anonymous
        safe = request.method in SAFE_METHODS
        limit = reads if safe else writes
        self.retry = buckets.take(f"{who}:{safe}", limit, time.monotonic()) if limit else 0.0
        return not self.retry

    def wait(self) -> float:
        """Seconds to wait, for Retry-After."""
        return self.retry


class IngestRate(Rate):
    """The throttle of what trainers deliver: they come each second, for as long as they train."""

    @staticmethod
    def limits() -> tuple[int, int, int]:
        """Strangers are slowed down as everywhere."""
        return settings.TRAINMON_INGEST_RATE, settings.TRAINMON_INGEST_RATE, settings.TRAINMON_API_RATE[2]
