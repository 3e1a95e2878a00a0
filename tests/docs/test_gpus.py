"""docs/examples/gpus.py: by NVML, else by nvidia-smi, else nothing; as events take it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from runs.readers import pushed

ROOT = Path(__file__).parents[2]


@pytest.fixture
def gpus() -> ModuleType:
    """A fresh copy: it remembers which way failed."""
    spec = importlib.util.spec_from_file_location("gpus", ROOT / "docs/examples/gpus.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def nvml(name: str) -> Any:
    """The driver's library with two GPUs, of which the second tells no power."""
    handles = {None: 0, 7: 0, 8: 1}

    def put(into: Any, **said: int) -> int:
        for field, value in said.items():
            setattr(into._obj, field, value)
        return 0

    return SimpleNamespace(
        nvmlInit_v2=lambda: 0,
        nvmlDeviceGetCount_v2=lambda into: put(into, value=2),
        nvmlDeviceGetHandleByIndex_v2=lambda index, into: put(into, value=7 + index.value),
        nvmlDeviceGetUtilizationRates=lambda handle, into: put(into, gpu=50 + handles[handle.value]),
        nvmlDeviceGetMemoryInfo=lambda handle, into: put(into, used=3 * 2**29, total=2**34),
        nvmlDeviceGetTemperature=lambda handle, kind, into: put(into, value=61),
        nvmlDeviceGetPowerUsage=lambda handle, into: handles[handle.value] or put(into, value=70_500),
    )


def event(cards: object) -> dict[str, Any]:
    return {"event_id": "e", "ts": "2026-01-02T03:04:05Z", "level": "INFO", "job_id": "j", "msg": "m",
            "event": "training.step", "fields": {"step": 1, "gpu": cards}}


def test_the_drivers_library_is_asked_first_and_each_gpu_is_told(gpus):
    cards = gpus.by_nvml(nvml)
    assert cards[0] == {"index": 0, "utilization": 50, "memory_used": 1.5, "memory_total": 16.0, "temperature": 61,
                        "power_watts": 70.5}
    assert cards[1]["utilization"] == 51 and "power_watts" not in cards[1]
    assert pushed.wrong_with(event(cards)) is None


def test_without_it_nvidia_smi_is_asked_and_what_it_does_not_tell_is_left_out(gpus, tmp_path, monkeypatch):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '0, 97, 8192, 16384, 71, 120.25'\necho '1, [N/A], 512, 16384, 40, [Not Supported]'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert gpus.read() == [
        {"index": 0, "utilization": 97.0, "memory_used": 8.0, "memory_total": 16.0, "temperature": 71.0, "power_watts": 120.25},
        {"index": 1, "memory_used": 0.5, "memory_total": 16.0, "temperature": 40.0}]
    assert pushed.wrong_with(event(gpus.read())) is None
    program.unlink()
    assert gpus.read() is not None  # for a second it is not asked again


def test_where_there_is_no_gpu_nothing_is_told(gpus, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert gpus.read() is None and gpus.read() is None
    assert pushed.wrong_with(event(None)) is None
