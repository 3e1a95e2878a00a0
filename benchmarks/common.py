"""What the benchmarks share: their options, their bars, and the peer they stand beside."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

#: Data made once and kept: TRAINMON_HOME/bench, or var/bench in the checkout.
DATA = Path(os.environ.get("TRAINMON_HOME") or Path(__file__).parent.parent / "var") / "bench"


@dataclass(frozen=True, slots=True)
class Bar:
    """A figure that must not be above its limit."""

    name: str
    value: float
    limit: float

    @property
    def holds(self) -> bool:
        return self.value <= self.limit


@dataclass(slots=True)
class Report:
    """What a benchmark found: rows of a table, and bars."""

    question: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)

    def print(self, as_json: bool) -> int:
        """Print the table, or one JSON object; 0 where every bar holds, else 1."""
        if as_json:
            bars = [asdict(bar) | {"holds": bar.holds} for bar in self.bars]
            print(json.dumps({"question": self.question, "machine": machine(),
                              "figures": self.rows, "bars": bars}))
        else:
            print(f"{self.question}\n{machine()}\n")
            _print_table(self.rows)
            print()
            for bar in self.bars:
                word = "holds " if bar.holds else "MISSED"
                print(f"{word} {bar.name}: {bar.value:.3g} (at most {bar.limit:.3g})")
        return 0 if all(bar.holds for bar in self.bars) else 1


def machine() -> str:
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"


def options(question: str) -> argparse.Namespace:
    """--json and --quick, as every benchmark takes them."""
    parser = argparse.ArgumentParser(description=question)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="smaller data, in seconds")
    return parser.parse_args()


def _print_table(rows: list[dict[str, Any]]) -> None:
    heads = list(rows[0]) if rows else []
    cells = [[_cell(row.get(head, "")) for head in heads] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    for line in [heads, *cells]:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


def _cell(value: Any) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def data_server_cpu(logdir: Path, timeout: float = 600) -> float:
    """CPU seconds of TensorBoard's fast data server until it has loaded ``logdir`` once.

    Default options, which spare it the payload CRCs and keep 1,000 points a tag.
    """
    from tensorboard_data_server import server_binary

    command = [server_binary(), "--logdir", str(logdir), "--port", "0", "--reload", "once", "-v"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
                          text=True) as server:
        assert server.stderr
        try:
            deadline = time.monotonic() + timeout
            for line in server.stderr:
                if "Finished load cycle" in line:
                    return cpu_of(server.pid)
                if time.monotonic() > deadline:
                    break
        finally:
            server.kill()
    sys.exit("the data server did not load its files")


def cpu_of(pid: int) -> float:
    """User and system CPU seconds of a process that lives."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
