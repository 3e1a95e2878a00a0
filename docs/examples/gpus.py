"""What the GPUs of this machine do now, as the field ``gpu`` of an event takes it.

    client.step(step, loss=loss, gpu=gpus.read())

By NVML (the driver's own library, a millisecond) where it is there, else by nvidia-smi, else None: an event
without ``gpu`` shows no GPU.  Standard library alone, Python 3.8 and newer; it never raises, and asks at most once
a second, so that it may stand in each step.
"""

import ctypes
import subprocess
import time
from typing import Any, Callable, Dict, List, Optional

#: Seconds that an answer holds, and that nvidia-smi may take.
HOLDS, PATIENCE = 1.0, 5.0
_ASKED = ("index", "utilization.gpu", "memory.used", "memory.total", "temperature.gpu", "power.draw")
_NAMES = ("index", "utilization", "memory_used", "memory_total", "temperature", "power_watts")

Cards = List[Dict[str, float]]


class _Rates(ctypes.Structure):
    _fields_ = [("gpu", ctypes.c_uint), ("memory", ctypes.c_uint)]


class _Memory(ctypes.Structure):
    _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]


def by_nvml(load: Callable[[str], Any] = ctypes.CDLL) -> Cards:
    """Every GPU that the driver tells of; what one cannot tell is left out."""
    nvml = load("libnvidia-ml.so.1")
    count = ctypes.c_uint()
    if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)):
        raise OSError("NVML does not answer")
    return [_card(nvml, index) for index in range(count.value)]


def _card(nvml: Any, index: int) -> Dict[str, float]:
    card: Dict[str, float] = {"index": index}
    handle = ctypes.c_void_p()
    if nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle)):
        return card
    rates, memory, degrees, milliwatts = _Rates(), _Memory(), ctypes.c_uint(), ctypes.c_uint()
    if not nvml.nvmlDeviceGetUtilizationRates(handle, ctypes.byref(rates)):
        card["utilization"] = rates.gpu
    if not nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory)):
        card["memory_used"], card["memory_total"] = (round(one / 2**30, 3) for one in (memory.used, memory.total))
    if not nvml.nvmlDeviceGetTemperature(handle, 0, ctypes.byref(degrees)):
        card["temperature"] = degrees.value
    if not nvml.nvmlDeviceGetPowerUsage(handle, ctypes.byref(milliwatts)):
        card["power_watts"] = milliwatts.value / 1000
    return card


def by_smi() -> Cards:
    """Every GPU that nvidia-smi lists."""
    command = ["nvidia-smi", "--query-gpu=" + ",".join(_ASKED), "--format=csv,noheader,nounits"]
    said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=PATIENCE, check=True)
    return [_told(line.split(",")) for line in said.stdout.decode().splitlines() if line.strip()]


def _told(cells: List[str]) -> Dict[str, float]:
    card: Dict[str, float] = {}
    for name, cell in zip(_NAMES, cells):
        try:
            number = float(cell)
        except ValueError:  # [N/A], [Not Supported]
            continue
        card[name] = int(number) if name == "index" else round(number / 1024, 3) if "memory" in name else number
    return card


_ways: List[Callable[[], Cards]] = [by_nvml, by_smi]
_last: "tuple[float, Optional[Cards]]" = (-HOLDS, None)


def read() -> Optional[Cards]:
    """The GPUs now; None where there are none.  A way that fails is not tried again."""
    global _last
    if time.monotonic() - _last[0] < HOLDS:
        return _last[1]
    cards: Cards = []
    while _ways and not cards:
        try:
            cards = _ways[0]()
            break
        except Exception:
            del _ways[0]
    _last = (time.monotonic(), cards or None)
    return _last[1]


if __name__ == "__main__":
    print(read())
