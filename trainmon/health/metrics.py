"""/metrics in Prometheus' words.  docs/operations.md lists the names; docs/grafana-dashboard.json draws them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime

from django.conf import settings
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from runs.models import Job, Source
from runs.models.run import Status
from streaming.models import TensorBoard
from trainmon.health import process
from trainmon.health.figures import Figures
from trainmon.health.standing import Standing, State, Word

STATES = ("synced", "stale", "failing", "never synced", "disabled")


class Scraped(Collector):
    """What was found for one scrape."""

    def __init__(self, word: Word, found: Mapping[str, Standing], figures: Figures | None) -> None:
        self.word, self.found, self.figures = word, found, figures

    def describe(self) -> list[Metric]:
        """Its names are given when it is collected."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The families; without a database those that need none."""
        yield _gauge("trainmon_build_info", "The version that runs.", ["version"], [([settings.VERSION], 1)])
        yield _gauge("trainmon_ready", "1: pages are served (ready or degraded); 0: not.", [], [([], self.word != Word.UNREADY)])
        yield _gauge("trainmon_dependency_up", "1: the dependency is ok; 0: degraded, down or unknown.", ["dependency"],
                     [([name], one.state == State.OK) for name, one in self.found.items()])
        waiting = self.found["broker"].waiting
        yield _gauge("trainmon_tasks_waiting", "Tasks that wait in the broker for a worker.", [],
                     [] if waiting is None else [([], waiting)])
        yield _gauge("trainmon_scrape_complete", "1: all figures of the registry are on this page; 0: the database gave none.",
                     [], [([], self.figures is not None)])
        if self.figures is not None:
            yield from _runs(self.figures)
            yield from _sources(self.figures)
            yield from _boards(self.figures)
            yield from _database(self.figures)


def exposition(word: Word, found: Mapping[str, Standing], figures: Figures | None) -> bytes:
    """The page that Prometheus reads."""
    registry = CollectorRegistry()
    registry.register(Scraped(word, found, figures))
    return generate_latest(registry) + generate_latest(process.REGISTRY)


def _gauge(name: str, what: str, labels: list[str], rows: Iterable[tuple[list[str], float]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, what, labels=labels)
    for values, figure in rows:
        family.add_metric(values, float(figure))
    return family


def _trainers(figures: Figures) -> dict[str, list[Source]]:
    mine: dict[str, list[Source]] = {}
    for source in figures.sources:
        mine.setdefault(source.trainer.slug, []).append(source)
    return mine


def _runs(figures: Figures) -> Iterator[Metric]:
    counts = {
        trainer: figures.held.of(source.pk for source in sources) for trainer, sources in _trainers(figures).items()
    }
    yield _gauge("trainmon_runs", "Runs by status.", ["trainer", "status"],
                 [([trainer, status], one.by_status[status]) for trainer, one in counts.items() for status in Status.values])
    yield _gauge("trainmon_runs_stalled", "Running runs that do not move.", ["trainer"],
                 [([trainer], figures.stalled_runs[trainer]) for trainer in counts])
    yield _gauge("trainmon_points", "Points that were read of the runs.", ["trainer"],
                 [([trainer], one.points) for trainer, one in counts.items()])
    yield _gauge("trainmon_log_bytes", "Size of the runs' files.", ["trainer"],
                 [([trainer], one.size) for trainer, one in counts.items()])
    words = [value for value, _ in Job._meta.get_field("status").flatchoices]
    yield _gauge("trainmon_jobs", "Jobs by status.", ["trainer", "status"],
                 [([trainer, status], figures.jobs.get((trainer, status), 0)) for trainer in counts for status in words])
    yield _gauge("trainmon_jobs_stalled", "Running jobs whose run does not move.", ["trainer"],
                 [([trainer], figures.stalled_jobs[trainer]) for trainer in counts])


def _sources(figures: Figures) -> Iterator[Metric]:
    enabled = [source for source in figures.sources if source.enabled]

    def each(figure: Callable[[Source], float | None]) -> list[tuple[list[str], float]]:
        return [([one.trainer.slug, str(one.pk)], value) for one in enabled if (value := figure(one)) is not None]

    def age(at: datetime | None) -> float | None:
        return None if at is None else max(0.0, (figures.at - at).total_seconds())

    labels = ["trainer", "source"]
    states = Counter((source.trainer.slug, source.state) for source in figures.sources)
    yield _gauge("trainmon_sources", "Sources by how they stand.", ["trainer", "state"],
                 [([trainer, state], states[trainer, state]) for trainer in _trainers(figures) for state in STATES])
    yield _gauge("trainmon_source_up", "1: the last look at the enabled source found no error.", labels,
                 each(lambda one: one.status != Source.Status.ERROR))
    yield _gauge("trainmon_source_lag_seconds", "How far behind its runs are known: by follower or sync.", labels,
                 each(lambda one: age(one.as_of)))
    yield _gauge("trainmon_source_sync_seconds", "What the last whole sync or scan of it took.", labels,
                 each(lambda one: one.sync_seconds))
    yield _gauge("trainmon_source_problems", "Damage and the like that its last sync named.", labels,
                 each(lambda one: len(one.problems)))
    yield _gauge("trainmon_source_followed", "1: a follower reads what grows in it as it grows.", labels,
                 each(lambda one: one.is_followed))
    lags = [lag for one in enabled if (lag := age(one.followed)) is not None]
    yield _gauge("trainmon_follower_lag_seconds", "Since the follower knew the source that it is furthest behind with.", [],
                 [([], max(lags))] if lags else [])
    beat = age(figures.heartbeat)
    yield _gauge("trainmon_worker_heartbeat_age_seconds", "Since clock, broker and worker last did their half-minute's task.", [],
                 [] if beat is None else [([], beat)])


def _boards(figures: Figures) -> Iterator[Metric]:
    def each(figure: Callable[[TensorBoard], float | None]) -> list[tuple[list[str], float]]:
        return [([one.trainer.slug], value) for one in figures.boards if (value := figure(one)) is not None]

    yield _gauge("trainmon_tensorboard_state", "1: the TensorBoard is in this state.", ["trainer", "state"],
                 [([one.trainer.slug, state], one.state == state)
                  for one in figures.boards for state in TensorBoard.State.values])
    yield _gauge("trainmon_tensorboard_memory_bytes", "Memory of a running TensorBoard.", ["trainer"],
                 each(lambda one: one.memory))
    restarts = CounterMetricFamily("trainmon_tensorboard_restarts", "How often it was started anew.", labels=["trainer"])
    for values, figure in each(lambda one: one.restarts):
        restarts.add_metric(values, figure)
    yield restarts
    yield _gauge("trainmon_tensorboard_runs_served", "Runs that it serves.", ["trainer"], each(lambda one: one.runs_served))
    yield _gauge("trainmon_tensorboard_runs_on_disk", "Runs that it should serve.", ["trainer"],
                 each(lambda one: one.runs_on_disk))


def _database(figures: Figures) -> Iterator[Metric]:
    yield _gauge("trainmon_database_bytes", "Size of the database.", [], [([], figures.database)])
    yield _gauge("trainmon_database_points_bytes", "What the points take of it, indexes included.", [],
                 [([], figures.held.database)])
    yield _gauge("trainmon_scrape_query_seconds", "What the queries of this page took.", [], [([], figures.seconds)])
