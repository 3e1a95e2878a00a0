"""What this process counts of itself.  Another process of the site counts its own: the names say ``process``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from django.db import connections
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from streaming import publish

#: Kinds of requests: as few as may be, and none that a caller can make more of.
ROUTES = re.compile(r"/(api|admin|static|tensorboard)/")
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each: when it began, which process_start_time_seconds tells
REGISTRY = CollectorRegistry()
requests = Counter(
    "trainmon_process_http_requests", "Requests answered by this web process; status 2xx to 5xx, or broken.",
    ["route", "method", "status"], registry=REGISTRY)
durations = Histogram(
    "trainmon_process_http_request_duration_seconds", "Time until the answers of this web process were sent, without streams.",
    ["route"], buckets=SECONDS, registry=REGISTRY)
opened = Gauge(
    "trainmon_process_connections_open", "Open connections of this web process that live for long.",
    ["kind"], registry=REGISTRY)
for _kind in ("websocket", "stream"):
    opened.labels(_kind)
ProcessCollector(registry=REGISTRY)


def answered(path: str, method: str, status: int | None, seconds: float, *, stream: bool = False) -> None:
    """Count a request."""
    found = ROUTES.match(path)
    route = found[1] if found else "page"
    how = "broken" if status is None else f"{status // 100}xx"
    requests.labels(route, method if method in METHODS else "other", how).inc()
    if not stream:
        durations.labels(route).observe(seconds)


class Held(Collector):
    """What others of this process count: the pool of connections, the publisher of notices."""

    def describe(self) -> list[Metric]:
        """Nothing is asked when it is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """As it is now."""
        yield CounterMetricFamily(
            "trainmon_process_notices_dropped",
            "Changes that this process could not tell the others of; their pages look by themselves.",
            value=publish.dropped())
        yield from _pool()


def _pool() -> Iterator[Metric]:
    stats: dict[str, int] = {}
    default = connections["default"]
    if default.settings_dict["OPTIONS"].get("pool"):
        stats = default.pool.get_stats()  # type: ignore[attr-defined]
    size, free = stats.get("pool_size", 0), stats.get("pool_available", 0)
    held = GaugeMetricFamily(
        "trainmon_process_db_connections", "Connections to the database in the pool of this process.", labels=["state"])
    held.add_metric(["used"], size - free)
    held.add_metric(["free"], free)
    yield held
    yield GaugeMetricFamily(
        "trainmon_process_db_connections_max", "Connections that the pool may hold.", stats.get("pool_max", 0))
    yield GaugeMetricFamily(
        "trainmon_process_db_waiting", "Who waits for a connection of the pool now.", stats.get("requests_waiting", 0))
    yield CounterMetricFamily(
        "trainmon_process_db_wait_seconds", "Time that was waited for connections of the pool.",
        stats.get("requests_wait_ms", 0) / 1000)


REGISTRY.register(Held())
