"""Many runs in a database, made by its own SQL: what lists are measured on.

Ten trainers, of which the user ``someone`` sees five; each run has 50 metrics, ten
parameters, a file, and 100 points of its loss.  The values of the metrics are spread evenly
from 0 to ``scale(metric)``, each metric on a scale of its own, independent of one another.
"""

from __future__ import annotations

from typing import Any

METRICS, TRAINERS, SEEN = 50, 10, 5
#: Points that each run's loss has, for its sparkline.
POINTS = 100

RUNS = """
INSERT INTO runs_run (source_id, dataset_id, path, name, status, status_reason, status_evidence, stalled, lifecycle_stage,
    files_missing, version, created, started, ended, last_event, last_arrival, pulse, step, total_steps, epoch, stage,
    early_stopped, error, error_type, error_stack, size, file_count, event_file_count, modified, point_count, bad_records,
    lost_bytes, warnings, gpu_type, gpu_count, host, params, param_sources, sidecars, said, tags, pinned, demo)
SELECT s.id, d.id, convert_to('run-' || n, 'UTF8'), 'sweep-' || n %% 97 || '/qwen-r' || n,
    (ARRAY['finished', 'finished', 'finished', 'failed', 'unknown'])[1 + n %% 5], 'no end written', '{"silence": 4000}', false,
    'active', false, 7, now(), at, at + interval '1 hour', at + interval '1 hour', at + interval '1 hour',
    '{"steps": [[1700000000.5, 100], [1700000010.5, 110]], "arrivals": [1700000000.5]}', 100, 200, 3.0, 'training', false,
    '', '', '', 1000000 + n, 12, 1, at + interval '1 hour', 5000, 0, 0, '[]', 'A100', 8, 'gpu-' || n %% 16,
    jsonb_build_object('lr', 1e-5 * (1 + n %% 100), 'batch_size', 2 ^ (n %% 8), 'seed', n, 'optimizer', 'adamw', 'model',
        jsonb_build_object('name', 'qwen', 'layers', 32, 'hidden', 4096), 'warmup', 100, 'dropout', 0.1, 'bf16', true),
    jsonb_build_object('config.json', jsonb_build_object('lr', 1e-5 * (1 + n %% 100), 'seed', n)), '{}', '{}', ARRAY['sweep'],
    false, false
FROM (SELECT n, now() - n * interval '1 minute' AS at FROM generate_series(1, %(runs)s) AS n) AS made
JOIN runs_source s ON s.root = '/bench/' || n %% %(trainers)s
JOIN runs_dataset d ON d.trainer_id = s.trainer_id
"""
FILES = """
INSERT INTO runs_logfile (source_id, run_id, path, prefix, kind, device, inode, size, mtime_ns, "offset", head_hash, tail_hash,
    state, generation, reading, records, points, bad_records, lost_bytes, damages, error, missing, first_wall, last_wall)
SELECT source_id, id, path || '/events.out.tfevents.1700000000.host'::bytea, '', 'events', 1, id, size, 0, size, '', '', '', 0, 0,
    5000, 5000, 0, 0, '[]', '', false, 1700000000, 1700003600 FROM runs_run
"""
SEGMENTS = """
INSERT INTO runs_segment (run_id, log_file_id, generation, part, reason, "offset", first_step, last_step, first_wall, last_wall)
SELECT run_id, id, 0, 0, 'start', 0, 0, 99, first_wall, last_wall FROM runs_logfile
"""
SERIES = """
INSERT INTO runs_series (run_id, tag_id, count, first_step, last_step, last, last_wall, minimum, maximum, nonfinite)
SELECT run, tag, 100, 0, 99, value, 1700003600, value * 0.9, value * 1.1, 0
FROM (SELECT r.id AS run, t.id AS tag, random() * 10 ^ (t.number % 7 - 3) AS value
      FROM runs_run r CROSS JOIN (SELECT id, row_number() OVER (ORDER BY id) - 1 AS number FROM runs_tag) t) AS made
"""
TAILS = """
INSERT INTO runs_seriestail (series_id, log_file_id, generation, part, start, count, last_step, last, last_wall, first_step,
    minimum, maximum, nonfinite, data)
SELECT s.id, f.id, 0, 0, 0, %(count)s, %(last_step)s, %(last)s, %(last_wall)s, %(first_step)s, %(minimum)s, %(maximum)s, 0,
    %(data)s
FROM runs_series s JOIN runs_logfile f ON f.run_id = s.run_id JOIN runs_tag t ON t.id = s.tag_id AND t.name = 'train/loss'
"""


def metric(number: int) -> str:
    """The name of a metric; the first is the main one."""
    return "train/loss" if number == 0 else f"group{number % 5}/metric_{number}"


def scale(number: int) -> float:
    """What the values of a metric stay below."""
    return float(10.0 ** (number % 7 - 3))


def fill(runs: int) -> None:
    """Make so many runs in the database of the settings, which is empty."""
    from django.db import connection

    _people()
    with connection.cursor() as cursor:
        cursor.execute("SELECT setseed(0.42)")
        cursor.executemany("INSERT INTO runs_tag (name) VALUES (%s)", [(metric(n),) for n in range(METRICS)])
        cursor.execute(RUNS, {"runs": runs, "trainers": TRAINERS})
        # millions of rows that refer to rows made here: a superuser need not check each
        cursor.execute("SELECT set_config('session_replication_role', 'replica', false) "
                       "FROM pg_roles WHERE rolname = current_user AND rolsuper")
        cursor.execute(FILES)
        cursor.execute(SEGMENTS)
        _without_indexes(cursor, SERIES)
        cursor.execute(TAILS, _tail())
        cursor.execute("VACUUM (FREEZE, ANALYZE)")


def _people() -> None:
    from django.contrib.auth.models import Group, User
    from django.utils.timezone import now

    from runs.models import Dataset, Source, Trainer

    seen, hidden = Group.objects.create(name="team"), Group.objects.create(name="others")
    user = User.objects.create_user("someone", password="benchmark")
    user.groups.add(seen, Group.objects.get(name="viewer"))
    for number in range(TRAINERS):
        trainer = Trainer.objects.create(name=f"Trainer {number}", slug=f"trainer-{number}")
        trainer.groups.add(seen if number < SEEN else hidden)
        Source.objects.create(trainer=trainer, root=f"/bench/{number}", status="ok", last_synced=now())
        Dataset.objects.create(trainer=trainer, name=f"dataset-{number}")


def _without_indexes(cursor: Any, statement: str) -> None:
    """Run a statement on runs_series with its plain indexes made afterwards, which is several times faster."""
    cursor.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'runs_series' "
        "AND indexname NOT IN (SELECT conname FROM pg_constraint)")
    indexes = cursor.fetchall()
    for name, _ in indexes:
        cursor.execute(f'DROP INDEX "{name}"')
    cursor.execute(statement)
    for _, made in indexes:
        cursor.execute(made)


def _tail() -> dict[str, Any]:
    import numpy as np

    from runs.chunks import pack, summarize

    steps, walls = np.arange(POINTS, dtype="<i8"), 1.7e9 + np.arange(POINTS, dtype="<f8")
    values = np.exp(-steps / 30) + np.random.default_rng(1).normal(0, 0.02, POINTS)
    facts = summarize(steps, walls, values)
    return {name: getattr(facts, name) for name in facts.__slots__} | {"data": pack(steps, walls, values, raw=True)}
