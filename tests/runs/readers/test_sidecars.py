"""Files beside the logs: trainer states, parameters, results."""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import PurePosixPath
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from runs.readers import naming, sidecars
from runs.readers.sidecars import SIDECARS, Unreadable, parameters, process_status, train_results, trainer_state


def state(step: int, most: int = 100, **more: Any) -> bytes:
    """A trainer_state.json as transformers 4.5x writes it."""
    return json.dumps({
        "best_global_step": None, "best_metric": 0.25, "best_model_checkpoint": "out/checkpoint-20", "epoch": 2.5,
        "eval_steps": 20, "global_step": step, "is_hyper_param_search": False, "is_local_process_zero": True,
        "is_world_process_zero": True, "log_history": [], "logging_steps": 10, "max_steps": most,
        "num_input_tokens_seen": 0, "num_train_epochs": 1000, "save_steps": 20, "total_flos": 1e15,
        "train_batch_size": 4, "trial_name": None, "trial_params": None, **more,
    }, indent=2).encode()  # fmt: skip


def callbacks(count: int, patience: int = 3, stop: bool = False) -> dict[str, Any]:
    return {"stateful_callbacks": {
        "EarlyStoppingCallback": {
            "args": {"early_stopping_patience": patience, "early_stopping_threshold": 0.0005},
            "attributes": {"early_stopping_patience_counter": count},
        },
        "TrainerControl": {
            "args": {"should_epoch_stop": False, "should_evaluate": False, "should_log": False, "should_save": True,
                     "should_training_stop": stop},
            "attributes": {},
        },
    }}  # fmt: skip


def read(data: bytes) -> sidecars.TrainerState:
    found = trainer_state(data)
    assert isinstance(found, sidecars.TrainerState)
    return found


def test_a_trainer_at_its_last_step_is_complete_and_not_early() -> None:
    found = read(state(100, **callbacks(0, stop=True)))
    assert (found.complete, found.early_stopped, found.why) == (True, False, "max steps")
    assert (found.global_step, found.max_steps, found.epoch, found.num_train_epochs) == (100, 100, 2.5, 1000.0)
    assert (found.best_metric, found.best_model_checkpoint) == (0.25, "out/checkpoint-20")


@pytest.mark.parametrize(
    ("more", "why"),
    [(callbacks(3), "patience"), (callbacks(4, stop=True), "patience"), (callbacks(1, stop=True), "told to stop"),
     (callbacks(2), ""), ({}, ""), ({"stateful_callbacks": {"EarlyStoppingCallback": [callbacks(0), None, 3]}}, ""),
     ({"log_history": [{"step": 60, "train_runtime": 9.0}]}, "ended before its epochs"),
     ({"log_history": [{"step": 40, "train_runtime": 9.0}]}, "")],
)  # fmt: skip
def test_early_stopping_is_told_by_its_callbacks_or_by_the_trainers_end(more: dict[str, Any], why: str) -> None:
    found = read(state(60, **more))
    assert (found.complete, found.early_stopped, found.why) == (False, bool(why), why)


def test_two_callbacks_of_one_class_are_a_list() -> None:
    one = callbacks(3)["stateful_callbacks"]["EarlyStoppingCallback"]
    assert read(state(60, stateful_callbacks={"EarlyStoppingCallback": [{}, one]})).why == "patience"


def test_the_end_of_training_is_in_the_log_history() -> None:
    logs = [{"step": 50, "loss": 1.0, "epoch": 1.0}, {"step": 100, "loss": math.nan}, {"step": 100, "train_runtime": 61.5},
            {"step": 100, "eval_loss": 0.5}]  # fmt: skip
    found = read(state(100, log_history=logs))
    assert (found.ended, found.train_runtime) == (True, 61.5)
    assert found.logged == {"loss": 1.0, "epoch": 1.0, "train_runtime": 61.5, "eval_loss": 0.5}


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"{", b'{"global_step": "7"}', b'{"global_step": -1}', b"\xff\xfe", b"[" * 99_999]
)
def test_what_is_no_trainer_state_gives_a_reason(data: bytes) -> None:
    assert isinstance(trainer_state(data), Unreadable)


# Parameters


def test_json_is_flattened_with_dots() -> None:
    data = b'{"optimizer": {"lr": 1e-4, "betas": [0.9, 0.95]}, "seed": 7, "bf16": true, "resume": null, "empty": {}, "x": NaN}'
    found = parameters("args.json", data)
    assert isinstance(found, dict)
    assert math.isnan(found.pop("x"))  # type: ignore[arg-type]
    assert found == {
        "optimizer.lr": 1e-4, "optimizer.betas": "[0.9, 0.95]", "seed": 7, "bf16": True, "resume": None, "empty": "{}",
    }  # fmt: skip


def test_yaml_is_read_with_its_aliases_merges_and_bare_exponents() -> None:
    data = b"base: &b {lr: 1e-4, n: 3}\ntrain:\n  <<: *b\n  n: 4\n  text: '1e-4'\nwhen: 2025-01-02\nhex: 0x10\nlist: [a, 1]\n"
    assert parameters("config.yml", data) == {
        "base.lr": 1e-4, "base.n": 3, "train.lr": 1e-4, "train.n": 4, "train.text": "1e-4", "when": "2025-01-02",
        "hex": 16, "list": '["a", 1]',
    }  # fmt: skip


def test_lightnings_python_tags_are_data_and_nothing_is_built() -> None:
    written = yaml.dump({
        "path": PurePosixPath("/data/x"), "pair": (1, 2), "args": argparse.Namespace(lr=0.5, deep=argparse.Namespace(a=1)),
    })  # fmt: skip
    assert "!!python/object" in written
    bad = "evil: !!python/object/apply:os.system ['touch /tmp/never']\n"
    assert parameters("hparams.yaml", (written + bad).encode()) == {
        "path": "/data/x", "pair": "[1, 2]", "args.lr": 0.5, "args.deep.a": 1, "evil": '["touch /tmp/never"]',
    }  # fmt: skip


def test_a_printed_namespace_is_read_and_not_called() -> None:
    data = (
        b"Namespace(lr=0.1, betas=(0.9, 0.95), name='x', on=True, none=None, path=PosixPath('/a'), neg=-1,"
        b" d={'a': {'b': 2}})\n"
    )
    assert parameters("args", data) == {
        "lr": 0.1, "betas": "[0.9, 0.95]", "name": "x", "on": True, "none": None, "path": "PosixPath('/a')", "neg": -1,
        "d.a.b": 2,
    }  # fmt: skip


def test_lines_of_keys_and_values_are_read() -> None:
    data = b"# made by hand\nlr: 1e-4\n--epochs=3\nname = 'big run'\nbf16: True\nckpt: None\nfree text\n"
    assert parameters("args", data) == {"lr": 1e-4, "epochs": 3, "name": "big run", "bf16": True, "ckpt": None}


@pytest.mark.parametrize(
    ("name", "data"),
    [("config.yml", b"a: 1" + b":1" * 400_000), ("config.yml", b"a: " + b"9" * 900_000), ("args", b"a= " + b" ,x" * 300_000),
     ("args", (b"a=" + b" " * 2_000 + b",x\n") * 450), ("config.yml", b"e: &e {}\nm:\n" + b"  <<: *e\n" * 15_000 + b"  k: 1\n")],
    ids=lambda data: repr(data)[:24],
)  # fmt: skip
def test_a_clumsy_configuration_is_read_quickly(name: str, data: bytes) -> None:
    begin = time.process_time()
    assert isinstance(parameters(name, data), dict)
    assert time.process_time() - begin < 2


def test_parameters_are_bounded() -> None:
    said = {"a" * 300: 1, "long": "é" * 5_000, **{f"k{n}": n for n in range(5_000)}}
    wide = parameters("config.json", json.dumps(said).encode())
    assert isinstance(wide, dict) and len(wide) == 1_000
    assert len(str(wide["long"])) == 1_024 and max(map(len, wide)) <= 255
    huge = parameters("config.json", b'{"n": 1' + b"0" * 400 + b"}")
    assert huge == {"n": math.inf}


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    ("name", "data"),
    [("config.yml", BOMB.encode()), ("config.yml", b"a: &a [*a]\n"), ("config.yml", b"[" * 500_000),
     ("config.yml", b"{a: " * 200_000), ("config.yml", b"a: 1\n" * 200_000), ("config.yml", b"a: b: c"), ("config.yml", b"- 1"),
     ("config.yml", b"a: \x00"), ("config.yml", b"\xff\xfe\x00"), ("config.yml", b""), ("config.yml", b"x" * 2_000_000),
     ("args.json", b"[1]"), ("args.json", b'{"a":' * 100_000), ("args", b""), ("args", b"Namespace("),
     ("args", b"Namespace(a=" + b"(" * 50_000), ("args", b"Namespace(a=" + b"-" * 60_000 + b"1)"),
     ("args", b"Namespace(a=" + b"1+" * 30_000 + b"1)"), ("args", b"= " * 400_000), ("args", b"a" * 900_000),
     ("config.yml", b"1" + b":1" * 400_000)],
    ids=lambda data: repr(data)[:24],
)  # fmt: skip
def test_a_hostile_configuration_is_refused_quickly(name: str, data: bytes) -> None:
    begin = time.process_time()
    assert isinstance(parameters(name, data), Unreadable)
    assert time.process_time() - begin < 2


@given(st.sampled_from(sorted(SIDECARS)), st.text(st.sampled_from("{}[]:,\"'&*!<- \nae01.=()#|\\\x00"), max_size=60))
@settings(max_examples=600, deadline=None)
def test_no_bytes_make_a_sidecar_raise(name: str, text: str) -> None:
    SIDECARS[name](text.encode())
    SIDECARS[name](b"{" + text.encode() + b"}")


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below, max_size=3),
    max_leaves=8,
)


@given(TREES)
@settings(max_examples=150, deadline=None)
def test_json_and_yaml_give_only_scalars(tree: Any) -> None:
    for name, written in (("config.json", json.dumps({"a": tree})), ("config.yml", yaml.safe_dump({"a": tree}))):
        found = parameters(name, written.encode("utf-8", "surrogatepass"))
        if isinstance(found, dict):
            assert all(isinstance(value, (bool, int, float, str, type(None))) for value in found.values())


# Results (CH-66)

COST_REPORT = {
    "run_metadata": {"dataset": "calendar_20251205", "run_name": "lora-1", "completion_time": "2025-12-05T12:00:00",
                     "total_steps": 240},
    "hardware": {"gpu_count": 2, "gpu_type": "H100", "hourly_rate_per_gpu": 4.5, "total_hourly_rate": 9.0},
    "time": {"total_seconds": 3600, "total_minutes": 60, "total_hours": 1},
    "cost": {"total_usd": 9.0, "cost_per_step": 0.0375},
    "checkpoints": [{"step": 20, "elapsed_seconds": 300, "elapsed_hours": 0.08, "cumulative_cost_usd": 0.75}, "x",
                    {"step": None}],
}  # fmt: skip
ROUTER = {
    "type": "router", "dataset_name": "routing_1", "run_name": "overnight-001", "completion_time": "2025-12-05T12:00:00Z",
    "dataset": {"train_samples": 800, "val_samples": 100, "total_samples": 900},
    "training": {"total_steps": 120, "train_loss": 0.0, "lora_rank": 16, "lora_alpha": 32, "learning_rate": 2e-4, "batch_size": 8,
                 "gradient_accumulation_steps": 2},
    "eval": {"accuracy": {"overall": 91.5, "per_class": {"calendar": 92.0, "ocr": None}}}, "output_dir": "/o", "log_dir": "/l",
}  # fmt: skip


def test_a_cost_report_gives_steps_hardware_and_cost() -> None:
    for name in ("train-results.json", "cost_report.json"):
        found = SIDECARS[name](json.dumps(COST_REPORT).encode())
        assert isinstance(found, sidecars.TrainResults) and found.cost is not None
        assert (found.shape, found.run, found.dataset, found.total_steps) == ("cost report", "lora-1", "calendar_20251205", 240)
        assert (found.cost.gpu_type, found.cost.gpu_count, found.cost.total_usd) == ("H100", 2, 9.0)
        assert found.cost.checkpoints == ((20, 300.0, 0.75),) and found.completed == 1764936000.0


def test_a_routers_results_give_hyperparameters_samples_and_steps() -> None:
    found = train_results(json.dumps(ROUTER).encode())
    assert isinstance(found, sidecars.TrainResults)
    assert (found.shape, found.run, found.total_steps) == ("router", "overnight-001", 120)
    assert (found.train_samples, found.eval_samples, found.total_samples) == (800, 100, 900)
    assert found.parameters == {
        "lora_rank": 16, "lora_alpha": 32, "learning_rate": 2e-4, "batch_size": 8, "gradient_accumulation_steps": 2,
    }  # fmt: skip
    assert found.metrics == {"train_loss": 0.0, "accuracy/overall": 91.5, "accuracy/calendar": 92.0}


def test_final_metrics_are_the_trainers_numbers() -> None:
    data = b'{"epoch": 3.0, "train_loss": -0.5, "train_runtime": 12.5, "train_samples": 800, "eval_loss": NaN, "note": "x"}'
    found = SIDECARS["final_metrics.json"](data)
    assert isinstance(found, sidecars.TrainResults)
    assert (found.train_samples, found.train_runtime, found.total_steps) == (800, 12.5, None)
    assert found.metrics == {"epoch": 3.0, "train_loss": -0.5, "train_runtime": 12.5, "train_samples": 800.0}


def test_a_process_status_is_mapped() -> None:
    times = {"started_at": "2025-12-05T12:00:00+00:00", "stopped_at": "2025-12-05T13:00:00+00:00"}
    found = process_status(json.dumps({"run_id": "r", "status": "stopped", **times}).encode())
    assert isinstance(found, sidecars.ProcessStatus)
    assert (found.status, found.word, found.started, found.ended) == ("killed", "stopped", 1764936000.0, 1764939600.0)


def test_the_scan_looks_for_every_file_that_we_read() -> None:
    assert {name.encode() for name in SIDECARS} <= set(naming.SIDECARS)
