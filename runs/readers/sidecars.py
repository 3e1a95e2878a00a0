"""The files beside a run's logs that say something about it, and who reads which.

Only files right in a run's directory are asked for, by their exact name, except that
trainer_state.json of the newest checkpoint counts as the run's own (naming.SIDECARS).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from runs.readers.document import Unreadable
from runs.readers.parameters import Scalar, parameters
from runs.readers.results import ProcessStatus, TrainResults, final_metrics, process_status, train_results
from runs.readers.trainer_state import TrainerState, trainer_state

__all__ = [
    "PARAMETER_FILES", "SIDECARS", "ProcessStatus", "Sidecar", "TrainResults", "TrainerState", "Unreadable",
    "final_metrics", "parameters", "process_status", "train_results", "trainer_state",
]  # fmt: skip

Sidecar = TrainerState | TrainResults | ProcessStatus | dict[str, Scalar] | Unreadable

#: Later ones win: what was asked for on the command line is nearest to what ran.
PARAMETER_FILES = (
    "config.json", "config.yaml", "config.yml", "params.json", "training_args.json", "hparams.yaml",
    "args", "args.yaml", "args.json",
)  # fmt: skip

#: File name -> what reads its bytes.
SIDECARS: dict[str, Callable[[bytes], Sidecar]] = {
    "trainer_state.json": trainer_state,
    "train-results.json": train_results,
    "cost_report.json": train_results,
    "train_results.json": final_metrics,
    "eval_results.json": final_metrics,
    "all_results.json": final_metrics,
    "final_metrics.json": final_metrics,
    "status.json": process_status,
    **{name: partial(parameters, name) for name in PARAMETER_FILES},
}
