"""MLflow's delete and gc of runs with artifacts: run by the Python that ``make bench-peers`` made.

Its one argument is JSON: the runs, the files of each and their size, and a folder for them.  Its output is one line of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse


def main(given: dict[str, Any]) -> list[dict[str, Any]]:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    address = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg2://")
    # its migrations log to stdout, where one line is expected
    store = SqlAlchemyStore(address, f"file://{given['folder']}")
    experiment = store.create_experiment("peer")
    runs = [store.create_run(experiment, "someone", 0, [], f"run-{number}") for number in range(given["runs"])]
    for run in runs:
        _plant(Path(unquote(urlparse(run.info.artifact_uri).path)), given)
    os.sync()
    began = time.perf_counter()
    for run in runs:
        store.delete_run(run.info.run_id)
    deleted = time.perf_counter()
    gc = [sys.executable, "-m", "mlflow", "gc", "--backend-store-uri", address]
    subprocess.run(gc, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "MLFLOW_TRACKING_URI": address})
    ended = time.perf_counter()
    assert not list(Path(given["folder"]).rglob("file-*"))
    return [_row("MLflow: delete", given["runs"], deleted - began), _row("MLflow: gc", given["runs"], ended - deleted)]


def _plant(folder: Path, given: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(given["files"]):
        (folder / f"file-{number}").write_bytes(bytes(given["size"]))


def _row(what: str, runs: int, seconds: float) -> dict[str, Any]:
    return {"what": what, "runs": runs, "s": seconds, "ms a run": seconds / runs * 1000}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
