"""MLflow's store, filled by SQL and asked for runs: run by the Python that ``make bench-peers`` made.

Its one argument is what is asked for, as JSON; its output is one line of JSON, the rows of the table.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from typing import Any

FILL = """
SET session_replication_role = replica;
SELECT setseed(0.42);
INSERT INTO experiments (experiment_id, name, workspace, artifact_location, lifecycle_stage, creation_time, last_update_time)
SELECT n, 'trainer-' || n, 'default', '/tmp/mlflow/' || n, 'active', 0, 0 FROM generate_series(1, 10) AS n;
INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time, end_time,
    source_version, lifecycle_stage, artifact_uri, experiment_id)
SELECT md5(n::text), 'sweep-' || n % 97 || '/qwen-r' || n, 'LOCAL', 'train.py', '', 'someone', 'FINISHED', 1700000000000 - n,
    1700003600000 - n, '', 'active', '/tmp/mlflow/' || n, 1 + n % 10 FROM generate_series(1, {runs}) AS n;
INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid)
SELECT CASE m WHEN 0 THEN 'train/loss' ELSE 'group' || m % 5 || '/metric_' || m END, random() * 10 ^ (m % 7 - 3),
    1700003600000, 99, false, md5(n::text) FROM generate_series(1, {runs}) AS n, generate_series(0, 49) AS m;
INSERT INTO metrics (key, value, timestamp, step, is_nan, run_uuid)
SELECT key, value, timestamp, step, is_nan, run_uuid FROM latest_metrics;
INSERT INTO params (key, value, run_uuid)
SELECT 'param_' || p, (n % 100)::text, md5(n::text) FROM generate_series(1, {runs}) AS n, generate_series(1, 10) AS p;
INSERT INTO tags (key, value, run_uuid) SELECT 'mlflow.user', 'someone', run_uuid FROM runs;
"""


def main(given: dict[str, Any]) -> list[dict[str, Any]]:
    import mlflow
    import psycopg2
    from mlflow.entities import ViewType
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    address = os.environ["DATABASE_URL"]
    # its migrations log to stdout, where one line is expected
    store = SqlAlchemyStore(address.replace("postgresql://", "postgresql+psycopg2://"), "/tmp/mlflow")
    with psycopg2.connect(address) as connection, connection.cursor() as cursor:
        cursor.execute(FILL.format(runs=given["runs"]))
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    rows: dict[str, dict[str, Any]] = {}
    for share, bounds in list(given["asked"].items()) * given["rounds"]:
        taken = []
        for number, bound in enumerate([*bounds[:2], *bounds]):
            began = time.perf_counter()
            found = store.search_runs([str(n) for n in range(1, 6)], f"metrics.`{given['metric']}` < {bound}",
                                      ViewType.ACTIVE_ONLY, 50, [f"metrics.`{given['sort']}` ASC"])
            if number >= 2:
                taken.append((time.perf_counter() - began) * 1000)
            assert found and all(run.data.metrics[given["metric"]] < bound for run in found)
        p50 = statistics.median(taken)
        if share not in rows or p50 < rows[share]["p50 ms"]:
            rows[share] = {"what": f"MLflow {mlflow.__version__} search_runs", "filter": share, "runs": given["runs"],
                           "p50 ms": p50, "p95 ms": sorted(taken)[int(len(taken) * 0.95)], "requests": len(taken)}
    return list(rows.values())


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
