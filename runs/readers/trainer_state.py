"""Hugging Face's trainer_state.json: how far a Trainer came, and whether it stopped early.

Written by ``TrainerState.save_to_json`` at each checkpoint and by ``Trainer.save_state`` at
the end (transformers/trainer_callback.py).  ``max_steps`` is there also where only epochs
were asked for.  Since transformers 4.42 ``stateful_callbacks`` holds the state of each
callback as ``{"args": {...}, "attributes": {...}}``, or a list of them: early stopping's
patience and counter, and ``TrainerControl`` with ``should_training_stop``.  When
``Trainer.train`` returns, it logs ``train_runtime`` at the last step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from runs.readers import plain
from runs.readers.document import Unreadable, json_object

STATE_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class TrainerState:
    """``epoch`` is a fraction; ``best_model_checkpoint`` a path as the trainer saw it.

    ``complete``: all of ``max_steps`` are done.  ``early_stopped``: it ended before, because
    it was told to.  ``ended``: ``Trainer.train`` returned, after either.  ``why`` is
    "max steps", "patience", "told to stop", "ended before its epochs" or "".
    ``logged`` holds the last value of every number in the log history.
    """

    global_step: int
    max_steps: int = 0
    epoch: float | None = None
    num_train_epochs: float | None = None
    best_metric: float | None = None
    best_global_step: int | None = None
    best_model_checkpoint: str = ""
    complete: bool = False
    early_stopped: bool = False
    ended: bool = False
    why: str = ""
    train_runtime: float | None = None
    logged: dict[str, float] = field(default_factory=dict)


def trainer_state(data: bytes) -> TrainerState | Unreadable:
    """What a trainer_state.json says."""
    found = json_object(data, STATE_BYTES)
    if isinstance(found, Unreadable):
        return found
    step = plain.whole(found.get("global_step"))
    if step is None or step < 0:
        return Unreadable("no global_step")
    history = [log for log in _list(found.get("log_history")) if isinstance(log, dict)]
    runtime = _runtime(history, step)
    most = plain.whole(found.get("max_steps")) or 0
    epoch = plain.number(found.get("epoch"))
    epochs = plain.number(found.get("num_train_epochs"))
    complete = step >= most > 0
    why = "max steps" if complete else ""
    if step < most:
        behind = epoch is not None and epochs is not None and epochs - epoch >= 1
        why = _told(found.get("stateful_callbacks"))
        why = why or ("ended before its epochs" if runtime is not None and behind else "")
    return TrainerState(
        step, most, epoch, epochs, plain.number(found.get("best_metric")),
        plain.whole(found.get("best_global_step")),
        plain.text(found.get("best_model_checkpoint"), 4096),
        complete, bool(why) and not complete, runtime is not None, why, runtime, _last(history),
    )


def _told(callbacks: object) -> str:
    """Whether a callback stopped the training, in words."""
    if not isinstance(callbacks, dict):
        return ""
    for state in _states(callbacks.get("EarlyStoppingCallback")):
        patience = plain.number(_dict(state.get("args")).get("early_stopping_patience"))
        attributes = _dict(state.get("attributes"))
        count = plain.number(attributes.get("early_stopping_patience_counter"))
        if patience is not None and count is not None and count >= patience > 0:
            return "patience"
    for state in _states(callbacks.get("TrainerControl")):
        if _dict(state.get("args")).get("should_training_stop") is True:
            return "told to stop"
    return ""


def _states(found: object) -> Iterator[dict[str, Any]]:
    """One callback's states: callbacks of the same class share an entry, as a list."""
    for state in found if isinstance(found, list) else [found]:
        if isinstance(state, dict):
            yield state


def _runtime(history: list[dict[str, Any]], step: int) -> float | None:
    """Seconds of the training that ended at ``step``; a resumed run has older ones, too."""
    for log in reversed(history):
        if plain.whole(log.get("step")) == step and "train_runtime" in log:
            return plain.number(log["train_runtime"])
    return None


def _last(history: list[dict[str, Any]]) -> dict[str, float]:
    last: dict[str, float] = {}
    for log in history[-10_000:]:
        for key, value in log.items():
            number = plain.number(value)
            if number is not None and key != "step" and (key in last or len(last) < 1_000):
                last[plain.text(key, 255)] = number
    return last


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
